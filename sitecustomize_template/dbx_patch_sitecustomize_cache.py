# This file is a part of dbx-patch's start-up shim: it keeps the byte code of editable packages on a mount in a cache on
# the local disk. `dbx_patch_sitecustomize.py` loads it when the first of their modules is found, and is its `shim`. The
# rules at the top of that file hold here as well.

import posix
import sys
from _frozen_importlib_external import (  # type: ignore[attr-defined]
    SourceFileLoader,
    _classify_pyc,
    _code_to_timestamp_pyc,
    _compile_bytecode,
    _validate_timestamp_pyc,
    cache_from_source,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_mounts as mounts

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    mounts = shim.load("mounts")

SIZE_LIMIT = 256 << 20
"""Bytes. A process that adds to a larger cache empties it first."""

caches: "dict[int, str]" = {}
"""The cache's folder for each user that this process has been; empty if that user has none."""
written: "list[bool]" = []
"""Not empty once this process has written to the cache: whether that has worked."""


class CachingLoader(SourceFileLoader):
    """Loads a module as Python's own loader does, but with its byte code in a cache of the user's on the local disk.

    Byte code is used exactly when Python would use it: when the source still has the size and the time of change that
    are recorded with it.
    """

    def get_code(self, fullname: str) -> "CodeType | None":
        """Return a module's code."""
        path = self.get_filename(fullname)
        try:
            cached = find_cached(path)
            status = self.path_stats(path) if cached else {}
        except (NotImplementedError, OSError, ValueError):
            cached = ""
        if not cached:
            return super().get_code(fullname)
        written, size = int(status["mtime"]), status["size"]
        try:
            data = read_own(cached)
            if _classify_pyc(data, fullname, {}) == 0:
                _validate_timestamp_pyc(data, written, size, fullname, {})
                return _compile_bytecode(data[16:], fullname, cached, path)  # type: ignore[no-any-return]
        except (EOFError, ImportError, OSError, TypeError, ValueError):  # it is not there, old or damaged
            pass
        source = self.get_data(path)
        code: CodeType = self.source_to_code(source, path)
        if not sys.dont_write_bytecode:
            write(cached, _code_to_timestamp_pyc(code, written, size))
        return code


def find_cached(path: str) -> str:
    """Return the file for a module's byte code; empty if the module's byte code is not kept in the cache.

    Raises NotImplementedError or ValueError if Python itself would have no file for it.
    """
    # Python keeps byte code in a folder of its own then.
    if sys.pycache_prefix is not None or path[:1] != "/" or "/../" in path:
        return ""
    user = posix.geteuid()
    if user not in caches:
        caches[user] = ""
        try:
            caches[user] = make_cache(user)
        except OSError:  # there is no home folder, or it can't be written
            pass
    if not caches[user]:
        return ""
    name = cache_from_source(path).rpartition("/")[2]
    return "%s%s/%s" % (caches[user], path.rpartition("/")[0], name)


def make_cache(user: int) -> str:
    """Return the folder of a user's cache, made if it is not there; empty if the user must not have one.

    Nothing in it may be another user's. So the folder must be the user's own and private, and nobody but root and the
    user may be able to replace a folder on the way to it. Raises OSError.
    """
    import os

    above = os.environ.get("XDG_CACHE_HOME", "")
    if above[:1] != "/":
        home = os.environ.get("HOME", "")
        above = home[:1] and home + "/.cache"
    if above[:1] != "/" or shim.is_switched_on(b"DBX_PATCH_NO_CACHE") or mounts.is_on_mount(above):
        return ""
    above = os.path.realpath(above)
    if mounts.is_on_mount(above):
        return ""
    folders = ["/".join(above.split("/")[:at]) for at in range(2, above.count("/") + 2)]
    for folder in [*folders, above + "/dbx-patch", above + "/dbx-patch/byte-code"]:
        if folder.startswith(above):  # the home folder itself is not ours to make
            try:
                posix.mkdir(folder, 0o700)
            except FileExistsError:
                pass
        if not is_safe(posix.lstat(folder), user):
            return ""
    status = posix.lstat(folder)
    return folder if status.st_uid == user and not status.st_mode & 0o077 else ""


def is_safe(status: posix.stat_result, user: int) -> bool:
    """Return whether a path names a folder in which only root and a user can replace what is there."""
    is_shared = status.st_mode & 0o022 and not status.st_mode & 0o1000  # in a sticky folder, only the owner can
    return status.st_mode & 0o170000 == 0o040000 and status.st_uid in (0, user) and not is_shared


def read_own(file: str) -> bytes:
    """Read a file of the cache. Raises OSError if it can't be read, ValueError if it is not the user's own."""
    descriptor = posix.open(file, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170022 != 0o100000 or status.st_uid != posix.geteuid():
            raise ValueError("not a file of this user")
        return posix.read(descriptor, status.st_size)
    finally:
        posix.close(descriptor)


def write(file: str, data: bytes) -> None:
    """Write a file of the cache, whole or not at all. After a failure, this process writes no more."""
    if False in written:
        return
    import os

    new = "%s.%d-%d" % (file, posix.getpid(), id(data))
    try:
        if not written:
            limit_size(caches[posix.geteuid()])
            written.append(True)
        os.makedirs(file.rpartition("/")[0], 0o700, exist_ok=True)
        descriptor = posix.open(new, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        try:
            done = posix.write(descriptor, data)
        finally:
            posix.close(descriptor)
        if done == len(data):  # else the disk is full
            posix.rename(new, file)
        else:
            written.append(False)
            posix.unlink(new)
    except OSError as error:
        written.append(False)
        shim.log("cache unusable", file, repr(error))
        try:
            posix.unlink(new)
        except OSError:
            pass


def limit_size(cache: str) -> None:
    """Empty the cache if it has grown too large. Raises OSError."""
    import os

    size = 0
    files: list[str] = []
    for folder, _, names in os.walk(cache):
        for name in names:
            files.append("%s/%s" % (folder, name))
            size += posix.lstat(files[-1]).st_size
    if size > SIZE_LIMIT:
        for name in files:
            posix.unlink(name)


def forget_answers() -> None:
    """Look for the cache's folder again."""
    caches.clear()
    written.clear()


def stop() -> None:
    """Forget the cache. Modules that were found meanwhile keep their loader."""
    forget_answers()
