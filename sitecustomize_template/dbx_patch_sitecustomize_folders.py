# This file is a part of dbx-patch's start-up shim: it searches the folders of editable installs.
# `dbx_patch_sitecustomize.py` loads it when the first of them is searched, and is its `shim`. The rules at the top of
# that file hold here as well.
#
# Modules are found as Python's own finder finds them. There are two differences. A folder that is absent is asked
# again, since a workspace folder is often not readable yet. And on a mount, where each question is a network call, a
# folder is asked once a second at most: it is listed when it is first reached, and again when its modification time has
# changed.

import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (  # type: ignore[attr-defined]
    FileFinder,
    PathFinder,
    SourceFileLoader,
    _NamespacePath,
    _path_isdir,
    _path_isfile,
)
from _thread import allocate_lock, start_new_thread
from time import CLOCK_MONOTONIC, clock_gettime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")

ASK_AGAIN_AFTER = 1.0
"""Seconds for which the answer of a mount serves, or the absence of a folder. The kernel caches a mount as long."""
FOLDER_HOOK = "FileFinder.path_hook.<locals>.path_hook_for_FileFinder"
"""The name of Python's own path hook for folders."""
REMOTE = "fuse", "nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "virtiofs"
"""The beginnings of the kinds of FUSE and network file systems, as /proc/self/mountinfo spells them."""
OF_THE_PROCESS = (12, 23, 24)
"""ENOMEM, ENFILE and EMFILE: the process or the machine has too little of something, and the folder may be there."""

listings: "dict[str, tuple[set[str] | None, int, float]]" = {}
"""Of each folder on a mount: its names, or None if it was absent; its modification time in nanoseconds when it was
listed; and when it was last asked, by the monotonic clock."""
UNKNOWN: "tuple[set[str] | None, int, float]" = (None, -1, -ASK_AGAIN_AFTER)
"""The entry of a folder that was never asked."""
ABSENT: "frozenset[str]" = frozenset()
"""The names in a folder that is absent."""
looked_again_for = 0
"""The generation of installs for which an import that was about to fail has looked again."""
remote_folders: "tuple[str, ...]" = ()
"""Where network and FUSE file systems are mounted, after an empty string; empty until they are looked up."""


def monotonic() -> float:
    """Return the monotonic clock, in seconds. freezegun and others replace `time.monotonic`."""
    return clock_gettime(CLOCK_MONOTONIC)


# Which folders are on a mount


def find_mount(path: str) -> str:
    """Return the mount that a path is on, by its name; empty for the local disk. No mount is asked: it may hang."""
    global remote_folders
    known = remote_folders
    if not known:
        known = remote_folders = ("", *find_remote_folders())
    below = [folder for folder in known if folder and (path + "/").startswith(folder + "/")]
    names = [mount[:-1] for mount in shim.MOUNTS if (path + "/").startswith(mount)]
    return max(below or names, key=len, default="")


def find_remote_folders(table: str = "/proc/self/mountinfo") -> "list[str]":
    """Return where network and FUSE file systems are mounted, except at `/`."""
    return [folder for folder, kind in list_mounts(table) if kind.startswith(REMOTE) and folder != "/"]


def list_mounts(table: str = "/proc/self/mountinfo") -> "list[tuple[str, str]]":
    """Return where file systems are mounted, each with its kind (proc(5), `/proc/pid/mountinfo`)."""
    found: list[tuple[str, str]] = []
    try:
        with open(table, "rb") as file:
            for line in file:
                mount, _, source = line.partition(b" - ")
                folder = mount.split(b" ")[4]
                for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
                    folder = folder.replace(code, bytes([int(code[1:], 8)]))
                kind = source.partition(b" ")[0].decode("latin-1")
                found.append((folder.decode(sys.getfilesystemencoding(), "surrogateescape"), kind))
    except (IndexError, OSError) as error:  # there is no /proc
        shim.log("file unreadable", table, repr(error))
    return found


# Finders


class RootFinder(FileFinder):
    """Finds modules in a folder on a local disk that can be absent for a while.

    Python itself would never ask the folder again. This asks it once a second.
    """

    absent_until = 0.0
    """When the folder can be asked again, by the monotonic clock; 0 if it is not absent."""

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Find a module. An error of the file system means that the folder is absent: it would end every import."""
        was_absent = self.absent_until
        if was_absent and monotonic() < was_absent:
            return None
        spec = None
        try:
            spec = super().find_spec(fullname, target)
            # It ignores errors of its `stat`. Another thread can have invalidated caches.
            is_absent = self._path_mtime == -1 and not _path_isdir(self.path)  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in OF_THE_PROCESS:
                raise
            shim.log("root unavailable", self.path, repr(error))
            is_absent = True
        self.absent_until = monotonic() + ASK_AGAIN_AFTER if is_absent else 0.0
        if was_absent and not is_absent:
            shim.log("root available", self.path)
            update_namespaces()
        return spec

    def invalidate_caches(self) -> None:
        """Forget what the folder has, and ask it at the next import."""
        super().invalidate_caches()
        self.absent_until = min(self.absent_until, 1.0)  # of the clock: any time is later


class MountFinder(FileFinder):
    """Finds modules in a folder on a mount, from its listing.

    It answers as Python's own finder does. It asks less: that one asks for the folder before each module, and in a
    package's folder for every kind of `__init__` file.
    """

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Find a module. An error of the mount means that the folder is absent: it would end every import."""
        name = fullname.rpartition(".")[2]
        spec = self.search(list_folder(self.path), fullname, name, target)
        if spec is None and name == fullname:
            ask_together(self.path)
        return spec

    def search(
        self, names: "Collection[str]", fullname: str, name: str, target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        """Return the spec of a module that is among the names in the folder: a package first, a namespace last."""
        base = "%s/%s" % (self.path, name)
        is_namespace = False
        if name in names:
            inner = list_folder(base)
            is_namespace = inner is not ABSENT
            for suffix, loader in self._loaders if inner else ():  # type: ignore[attr-defined]
                file = "__init__" + suffix
                if file in inner and _path_isfile("%s/%s" % (base, file)):
                    return self.make_spec(loader, fullname, "%s/%s" % (base, file), [base], target)
        for suffix, loader in self._loaders:  # type: ignore[attr-defined]
            if name + suffix in names and _path_isfile(base + suffix):
                return self.make_spec(loader, fullname, base + suffix, None, target)
        if not is_namespace:
            return None
        spec = ModuleSpec(fullname, None)
        spec.submodule_search_locations = [base]
        return spec

    def make_spec(
        self, loader: "Any", fullname: str, file: str, folders: "list[str] | None", target: "ModuleType | None"
    ) -> "ModuleSpec":
        """Return a module's spec, as Python's own finder makes it."""
        spec: ModuleSpec = self._get_spec(loader, fullname, file, folders, target)  # type: ignore[attr-defined]
        use_cache(spec)
        return spec

    def invalidate_caches(self) -> None:
        """Forget what the folder has."""
        super().invalidate_caches()
        listings.pop(self.path, None)


# Roots


def watch_layer(layer: str) -> None:
    """Have a layer on a mount searched as a root is. Its `.pth` files are read when it is listed for an import."""
    if layer not in editables.mount_layers:
        editables.mount_layers.add(layer)
        editables.serve([layer])
        editables.served.discard(editables.normalize(layer))


def forget(gone: "Collection[str]") -> None:
    """Take roots that no layer on the path names any more off the path, unless `site` had put them there."""
    for root in gone:
        del editables.roots[root]
        editables.served.discard(editables.normalize(root))
        if root in editables.added_roots:
            editables.added_roots.discard(root)
            sys.path[:] = [entry for entry in sys.path if entry != root]
            shim.log("root removed", root)
        sys.path_importer_cache.pop(root, None)


def find_late(fullname: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
    """Ask all finders again for a module that is about to be missing, if something is new: an install, or a root."""
    global looked_again_for
    if not ask_absent(path) and looked_again_for == editables.generation:
        return None
    looked_again_for = editables.generation
    for finder in list(sys.meta_path):
        ask_it: Any = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = ask_it(fullname, path, target) if ask_it and finder is not shim.latecomer else None
        if spec is not None:
            return spec
    return None


def find_usercustomize(fullname: str, path: object, target: object) -> "ModuleSpec":
    """Answer the last import that `site` makes, without searching the roots that we added: nothing touches those."""
    shim.watched[fullname] = None
    entries: list[Any] = list(sys.path)  # other code may put anything on it
    known = [entry for entry in entries if isinstance(entry, str) and entry not in editables.added_roots]
    spec = PathFinder.find_spec(fullname, known)
    if spec is None:
        raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
    return spec


def make_finder(path: str) -> FileFinder:
    """Return the finder of a folder, whether that exists or not. Raises ImportError for what is none of ours.

    Python's own path hook refuses an absent folder. So this makes the finder that the hook would make.
    """
    mount = find_mount(path)
    is_root = editables.normalize(path) in editables.served or path in editables.mount_layers
    if not (mount or is_root):  # Python's own finder serves as well
        raise ImportError("not a root")
    if not (is_root or listings.get(path, UNKNOWN)[0] is not None or _path_isdir(path)):  # a script, for example
        raise ImportError("not a folder")
    if not mount and shim.load("standards").is_file(path):
        raise ImportError("an archive")
    hook: Any = next((hook for hook in sys.path_hooks if getattr(hook, "__qualname__", "") == FOLDER_HOOK), None)
    if hook is None:
        raise ImportError("there is no path hook for folders")
    try:
        given = dict(zip(hook.__code__.co_freevars, [cell.cell_contents for cell in hook.__closure__]))
        finder: Any = given["cls"](path, *given["loader_details"])
    except (AttributeError, KeyError, TypeError):  # a Python that makes it in another way
        finder = hook(path)
    if type(finder) is FileFinder:
        finder.__class__ = MountFinder if mount else RootFinder
    return finder  # type: ignore[no-any-return]


def use_cache(spec: "ModuleSpec") -> None:
    """Have a module's byte code kept on the local disk if its source is on a mount; another kind of loader is left."""
    if type(spec.loader) is SourceFileLoader and find_mount(str(spec.origin)):
        try:
            shim.load("cache").use(spec)
        except ImportError:  # another version was installed meanwhile
            pass


# Listings


def list_folder(folder: str) -> "Collection[str]":
    """Return the names in a folder on a mount, which is asked once a second at most; ABSENT if it is not there.

    Raises OSError if the process or the machine has too little of something.
    """
    names, _, asked_at = listings.get(folder, UNKNOWN)
    if monotonic() - asked_at >= ASK_AGAIN_AFTER:
        before, names = names, ask(folder)
        if folder in editables.mount_layers and names is not before:
            answer = listings.pop(folder, UNKNOWN)
            if honor_layer(folder, names or ()):  # which drops all answers
                listings[folder] = answer  # else it is listed again at the next import
    return ABSENT if names is None else names


def ask(folder: str) -> "set[str] | None":
    """Ask a folder on a mount, list it if it has changed, and return its names; None if it is absent.

    Raises OSError as `list_folder` does.
    """
    names, changed, asked_at = listings.get(folder, UNKNOWN)
    was_absent = names is None and asked_at >= 0
    asked_at = monotonic()
    try:
        now = posix.stat(folder).st_mtime_ns  # before the listing: what changes meanwhile is listed the next time
        if names is None or now != changed:
            names = set(posix.listdir(folder))
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) in OF_THE_PROCESS:
            raise
        names, now = None, -1
        if folder in editables.roots:
            shim.log("root unavailable", folder, repr(error))
    listings[folder] = names, now, asked_at
    if was_absent and names is not None:
        shim.log("root available", folder)
        update_namespaces()
    return names


def ask_together(folder: str) -> None:
    """Ask all roots on the mount of one, if they are due, at the same time: together they take as long as one.

    Where a thread can't be started, they are asked one after another, when an import reaches them.
    """
    mount, now = find_mount(folder), monotonic()
    due = [root for root in list(editables.roots) if now - listings.get(root, UNKNOWN)[2] >= ASK_AGAIN_AFTER]
    asked: list[Any] = []
    for root in due if folder in editables.roots else ():
        if root != folder and find_mount(root) == mount and root in sys.path:
            lock = allocate_lock()
            lock.acquire()
            try:
                start_new_thread(ask_and_release, (root, lock))
            except RuntimeError:
                break
            asked.append(lock)
    for lock in asked:
        lock.acquire()


def ask_and_release(root: str, lock: "Any") -> None:
    """Ask a root in a thread of its own. If it fails, the root is asked again when an import reaches it."""
    try:
        ask(root)
    except Exception:
        pass
    finally:
        lock.release()


def honor_layer(layer: str, names: "Collection[str]") -> bool:
    """Honor the editable installs of a layer that has been listed. Return False if another thread honors some."""
    # until 3.14 is dropped: there, `.start` files are unknown
    ends = (".pth", ".start") if sys.hexversion >= 0x30F0000 else ".pth"
    pth = sorted([name for name in names if name.endswith(ends)])
    if not pth and layer not in editables.installs:
        return True
    if shim.loading._is_owned() or not shim.loading.acquire(blocking=False):  # type: ignore[attr-defined]
        return False
    try:
        shim.run_guarded(editables.honor, {layer: pth})
    finally:
        shim.loading.release()
    return True


def ask_absent(path: object) -> bool:
    """Have a namespace package look for its portions again if a root is absent and can be asked again.

    Python looks for them once. Return whether it looks again.
    """
    now = monotonic()
    if isinstance(path, _NamespacePath):
        for root in list(editables.roots):
            finder = sys.path_importer_cache.get(root)
            names, _, asked_at = listings.get(root, UNKNOWN)
            if (type(finder) is MountFinder and names is None and now - asked_at >= ASK_AGAIN_AFTER) or (
                type(finder) is RootFinder and 0 < finder.absent_until <= now
            ):
                update_namespaces()
                return True
    return False


def update_namespaces() -> None:
    """Have each namespace package look for its portions again when it is used, as after a change of `sys.path`."""
    _NamespacePath._epoch = getattr(_NamespacePath, "_epoch", 0) + 1


def forget_answers() -> None:
    """Drop what is known of mounts."""
    global remote_folders
    listings.clear()
    remote_folders = ()


def stop() -> None:
    """Have Python's own finders, and Databricks', search the folders again."""
    for entry, finder in list(sys.path_importer_cache.items()):
        if type(finder) in (MountFinder, RootFinder):
            sys.path_importer_cache.pop(entry, None)
    forget_answers()
