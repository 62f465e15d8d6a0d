# This file is a part of dbx-patch's start-up shim: it keeps the byte code of editable packages on a mount in a cache on
# the local disk. `dbx_patch_sitecustomize.py` loads it when the first of their modules is found, and is its `shim`. The
# rules at the top of that file hold here as well.
#
# The cache is used exactly when Python would have run the same code: for a source that has the same size and the same
# times of change, in nanoseconds. Python's own loader does the work, so tracebacks are as without us.

import _imp
import posix
import sys
from _frozen_importlib_external import (  # type: ignore[attr-defined]
    MAGIC_NUMBER,
    SourceFileLoader,
    _classify_pyc,
    cache_from_source,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec
    from typing import Any

    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_folders as folders

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    folders = shim.load("folders")

SIZE_LIMIT = 256 << 20
"""Bytes. A process that adds to a larger cache empties it first."""
OF_ONE_FILE = (2, 17, 36)
"""ENOENT, EEXIST and ENAMETOOLONG: errors after which other files can still be written."""

caches: "dict[int, str]" = {}
"""The cache's folder for each user that this process has been; empty if that user has none."""
written: "list[bool]" = []
"""Not empty once this process has written to the cache: whether that has worked."""


class CachingLoader(SourceFileLoader):
    """Has Python's own loader read and write byte code in a cache of the user's on the local disk.

    It becomes Python's own loader as soon as the code is there: a module that is pickled by value must not name a class
    that other interpreters don't have.
    """

    key = b""
    """What the source and its byte code were when they were asked."""

    def path_stats(self, path: str) -> "Mapping[str, Any]":
        """Return the source's time of change and size, and remember them in full."""
        try:
            status, has_own = posix.stat(path), has_own_byte_code(path)
        except OSError:  # Python goes on without byte code
            self.become_own()
            raise
        self.key = b"%d %d %d %d" % (status.st_mtime_ns, status.st_ctime_ns, status.st_size, has_own)
        return {"mtime": status.st_mtime, "size": status.st_size}

    def get_data(self, path: str) -> bytes:
        """Return the content of the source, or of the cache instead of the byte code's file on the mount."""
        if path[-4:] != ".pyc":
            data = super().get_data(path)
            if sys.dont_write_bytecode and self.key:
                self.become_own()
            return data
        data = b""
        try:
            head, _, data = read_own(find_cached(self.path)).partition(b"\n")
        except ValueError as error:
            raise OSError("no byte code") from error
        except OSError:
            pass
        if data[:4] == MAGIC_NUMBER and head == self.key + b" %d" % hash_data(data):
            self.become_own()
            return data
        if self.key[-1:] == b"1":
            data = super().get_data(path)
            if self.is_valid_by_hash(data):
                self.become_own()
                return data
        raise OSError("no byte code")

    def is_valid_by_hash(self, data: bytes) -> bool:
        """Return whether byte code on the mount is valid by the hash of its source, or without any check (:pep:`552`).

        Python itself would replace on the mount what is not valid.
        """
        try:
            flags = _classify_pyc(data, self.name, {})
        except (EOFError, ImportError):  # it is cut short, or another Python's
            return False
        how = _imp.check_hash_based_pycs
        if flags and (how == "always" or (how == "default" and flags == 3)):
            source = super().get_data(self.path)
            return bool(data[8:16] == _imp.source_hash(int.from_bytes(MAGIC_NUMBER, "little"), source))
        return flags in (1, 3)

    def _cache_bytecode(self, source_path: str, cache_path: str, data: bytes) -> None:  # noqa: ARG002
        """Write byte code to the cache."""
        write(find_cached(source_path), b"%s %d\n%s" % (self.key, hash_data(data), data))
        self.become_own()

    def become_own(self) -> None:
        """Become Python's own loader."""
        self.__dict__.pop("key", None)
        self.__class__ = SourceFileLoader  # type: ignore[assignment]


def use(spec: "ModuleSpec") -> None:
    """Have the byte code of a module kept in the cache, unless its user has none, or Python a folder of its own."""
    cached = find_cached(str(spec.origin))
    if cached:
        spec.loader.__class__ = CachingLoader
        spec.cached = cached


def has_own_byte_code(path: str) -> bool:
    """Return whether there is byte code of a source on the mount, by the listings of its folders."""
    folder, _, name = cache_from_source(path).rpartition("/")
    return "__pycache__" in folders.list_folder(path.rpartition("/")[0]) and name in folders.list_folder(folder)


def hash_data(data: bytes) -> int:
    """Return a hash of byte code: damaged code must not run."""
    return int.from_bytes(_imp.source_hash(0, data), "little")


def find_cached(path: str) -> str:
    """Return the file for a module's byte code; empty if the module's byte code is not kept in the cache."""
    # Python keeps byte code in a folder of its own then, or has no name for it.
    if sys.pycache_prefix is not None or not sys.implementation.cache_tag or path[:1] != "/" or "/../" in path:
        return ""
    user = posix.geteuid()
    cache = caches.get(user)
    if cache is None:
        try:
            cache = find_cache(user)
        except OSError:  # the home folder can't be read
            cache = ""
        caches[user] = cache
    return cache and "%s%s/%s" % (cache, path.rpartition("/")[0], cache_from_source(path).rpartition("/")[2])


def find_cache(user: int, *, make: bool = False) -> str:
    """Return the folder of a user's cache, which need not be there yet; empty if the user must not have one.

    Nothing in it may be another user's. So the folder must be the user's own and private, and nobody but root and the
    user may be able to replace a folder on the way to it. Raises OSError.
    """
    import os

    above = os.environ.get("XDG_CACHE_HOME", "")
    if above[:1] != "/":
        home = os.environ.get("HOME", "")
        above = home[:1] and home + "/.cache"
    if above[:1] != "/" or shim.is_switched_on(b"DBX_PATCH_NO_CACHE") or folders.find_mount(above):
        return ""
    above = os.path.realpath(above)
    if folders.find_mount(above):
        return ""
    parts = ["/".join(above.split("/")[:at]) for at in range(2, above.count("/") + 2)]
    cache = above + "/dbx-patch/byte-code"
    for folder in [*parts, above + "/dbx-patch", cache]:
        if make and folder.startswith(above):  # the home folder itself is not ours to make
            try:
                posix.mkdir(folder, 0o700)
            except FileExistsError:
                pass
        try:
            status = posix.lstat(folder)
        except FileNotFoundError:
            if not folder.startswith(above):
                raise
            return cache
        if not is_safe(status, user):
            return ""
    return cache if status.st_uid == user and not status.st_mode & 0o077 else ""


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
    """Write a file of the cache, whole or not at all. After a failure of the disk, this process writes no more."""
    if not file or False in written:
        return
    import os

    new = "%s.%d-%d" % (file, posix.getpid(), id(data))
    try:
        cache = find_cache(posix.geteuid(), make=True)
        if not cache:
            return
        if not written:
            limit_size(cache)
            written.append(True)
        os.makedirs(file.rpartition("/")[0], exist_ok=True)
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
        if error.errno not in OF_ONE_FILE:
            written.append(False)
            shim.log("cache unusable", file, repr(error))
        try:
            posix.unlink(new)
        except OSError:
            pass


def limit_size(cache: str) -> None:
    """Empty the cache if it has grown too large. Raises OSError, but not for what another process removes meanwhile."""
    import os

    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(cache):
        for name in names:
            try:
                sizes["%s/%s" % (folder, name)] = posix.lstat("%s/%s" % (folder, name)).st_size
            except FileNotFoundError:
                pass
    if sum(sizes.values()) > SIZE_LIMIT:
        for file in sizes:
            try:
                posix.unlink(file)
            except FileNotFoundError:
                pass


def stop() -> None:
    """Forget the cache. Modules that were found and not yet loaded keep their loader."""
    caches.clear()
    written.clear()
