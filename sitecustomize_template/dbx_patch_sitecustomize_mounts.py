# This file is a part of dbx-patch's start-up shim: it searches the folders of editable installs that are on a mount.
# `dbx_patch_sitecustomize.py` loads it when the first of them is searched, and is its `shim`. The rules at the top of
# that file hold here as well.
#
# On a mount, each `stat` and each listing is a network call, which can be slow, fail or hang. Python asks every folder
# on `sys.path` for each name that it did not find before, and a root is on the path of every process. So:
# - A root answers for names that it is known to have: from the metadata of its project, on the local disk, or from the
#   root's last listing.
# - For any other name it is listed if no folder on the local disk has the name, once in 10 s for the same name, and not
#   for a name that a library looks for by itself, such as an optional dependency.
# - The folder of a package is listed once a second at most. What is in the listing is not asked for name by name.

import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import FileFinder, PathFinder, SourceFileLoader, _path_isfile  # type: ignore[attr-defined]
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_finders as finders

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")
    finders = shim.load("finders")

LISTED_FOR = 1.0
"""Seconds for which a listing serves. The mount's own cache, in the kernel, serves as long."""
MISSED_FOR = 10.0
"""Seconds after which a root is listed again for a name that it did not have."""
MISSED_LIMIT = 10_000
"""Names that were missed and are remembered."""
AT_START = ("sitecustomize", "usercustomize", "storemagic", "autoreload")
"""What `site` and IPython look for at each start, usually in vain. IPython then imports its own `storemagic`."""
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre")
"""Types of network file systems, as in `/proc/self/mountinfo`. FUSE's begin with `fuse.`."""
METADATA_LIMIT = 1 << 16
"""Bytes of a distribution's metadata that are read. What it requires comes before its description."""
PLATFORM = ("/databricks/spark", "/databricks/python_shell")
"""Databricks' own code. It wraps `builtins.__import__`, and so it is often between an import and its file."""
NOBODY = ("<frozen ", "<dbx-patch>")
"""The beginnings of what Python's own code and ours have as a file name."""

listings: "dict[str, tuple[frozenset[str] | None, float]]" = {}
"""The names in each folder when it was last listed, or None if it was absent, and when that was."""
offered: "dict[str, frozenset[str]]" = {}
"""The names that each root has by its project's metadata."""
missed: "dict[tuple[str, str], float]" = {}
"""When a root can be listed again for a name that it did not have."""
elsewhere: "dict[str, tuple[bool, float]]" = {}
"""Whether a folder on the local disk has a name, and when that was looked up."""
required: "dict[str, frozenset[str]]" = {}
"""The projects that the distributions of a layer require, normalized."""
remote_folders: "list[str]" = []
"""Where network and FUSE file systems are mounted; empty until they are looked up."""


# Which folders are on a mount


def is_on_mount(path: str) -> bool:
    """Return whether a path is on a mount. Mounts themselves are not asked: they may hang."""
    if (path + "/").startswith(shim.MOUNTS):
        return True
    if not remote_folders:
        remote_folders[:] = ["", *find_remote_folders()]
    return any([folder and (path + "/").startswith(folder + "/") for folder in remote_folders])


def find_remote_folders(table: str = "/proc/self/mountinfo") -> "list[str]":
    """Return where network and FUSE file systems are mounted, except at `/` (proc(5), `/proc/pid/mountinfo`)."""
    found: list[str] = []
    try:
        with open(table, "rb") as file:
            for line in file:
                mount, _, source = line.partition(b" - ")
                kind = source.partition(b" ")[0].decode()
                folder = mount.split(b" ")[4]
                if folder != b"/" and (kind.startswith("fuse.") or kind in ("fuse", *REMOTE)):
                    for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
                        folder = folder.replace(code, bytes([int(code[1:], 8)]))
                    found.append(folder.decode(sys.getfilesystemencoding(), "surrogateescape"))
    except (IndexError, OSError, ValueError) as error:  # there is no /proc
        shim.log("file unreadable", table, repr(error))
    return found


def watch_layer(layer: str) -> None:
    """Have a layer on a mount searched as a root is. Its `.pth` files are read when it is listed for an import."""
    if layer not in editables.folders:
        editables.folders.add(layer)
        shim.run_guarded(editables.guard_roots, [layer])


# The finder of a folder on a mount


class MountFinder(FileFinder):
    """Finds modules in a root or a package on a mount, from the folder's listing.

    It answers as Python's own finder does. It asks less: that one asks for the folder before each module, and in a
    package's folder for every kind of `__init__` file.
    """

    is_absent = False
    ask_again_at = 0.0

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Find a module. An error of the mount means that the folder is absent: it would end every import."""
        folder = self.path
        name = fullname.rpartition(".")[2]
        is_top = name == fullname
        if is_top:
            if fullname in shim.NOT_INSTALLED:
                return None
            if fullname not in list_offered(folder) and not is_in_new_listing(folder, fullname):
                return None
        # A mount often comes back right before the first import: an absent root is asked once a second for each name.
        is_due = is_top and monotonic() >= missed.get((folder, fullname), 0.0)
        names = list_folder(folder, LISTED_FOR, 0.0 if is_due else LISTED_FOR)
        spec = self.search(names, fullname, name, target)
        if spec is None and names and not is_top:  # Python, too, asks the folder again before it fails
            spec = self.search(list_folder(folder, 0.0), fullname, name, target)
        self.is_absent = is_absent(folder)
        self.ask_again_at = monotonic() + LISTED_FOR if self.is_absent else 0.0
        if is_due and self.is_absent:
            missed[folder, fullname] = self.ask_again_at
        return spec

    def search(
        self, names: "frozenset[str]", fullname: str, name: str, target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        """Return the spec of a module that is among the names in the folder: a package first, a namespace last."""
        base = "%s/%s" % (self.path, name)
        is_namespace = False
        if name in names:
            inner = list_folder(base, LISTED_FOR)
            if not is_absent(base):
                is_namespace = True
                editables.folders.add(base)
                for suffix, loader in self._loaders:  # type: ignore[attr-defined]
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


def convert(finder: "Any") -> None:
    """Make Python's own finder of a folder a `MountFinder`, and have `pkgutil` spare mounts from now on."""
    finder.__class__ = MountFinder
    if "pkgutil" not in shim.watched:
        shim.watched["pkgutil"] = shim.find_hook
        if "pkgutil" in sys.modules:
            shim.run_guarded(shim.load("hooks").patch, "pkgutil", sys.modules["pkgutil"])


def use_cache(spec: "ModuleSpec") -> None:
    """Have a module's byte code kept on the local disk. A loader of another kind is left as it is."""
    if type(spec.loader) is SourceFileLoader:
        try:
            spec.loader.__class__ = shim.load("cache").CachingLoader
        except ImportError:  # another version was installed meanwhile
            pass


def adopt(spec: "ModuleSpec") -> None:
    """Treat a module that a finder of an editable install has found as one in a root, if it is on a mount."""
    for folder in spec.submodule_search_locations or ():
        if is_on_mount(folder):
            editables.folders.add(folder)
    if spec.origin and is_on_mount(spec.origin):
        use_cache(spec)


def list_folder(folder: str, age: float, absent_for: float = LISTED_FOR) -> "frozenset[str]":
    """Return the names in a folder, from a listing that is at most `age` seconds old; none if the folder is absent.

    An absent folder is asked again after `absent_for` seconds. Raises OSError if the process or the machine has too
    little of something.
    """
    names, listed_at = listings.get(folder, (frozenset(), -LISTED_FOR))
    now = monotonic()
    if now - listed_at < (absent_for if names is None else age):
        return names or frozenset()
    was_absent = names is None
    try:
        names = frozenset(posix.listdir(folder))
    except OSError as error:
        if error.errno in finders.NOT_OF_THE_MOUNT:
            raise
        names = None
        if folder in editables.roots:
            shim.log("root unavailable", folder, repr(error))
    if names and shim.is_layer(folder) and not honor_layer(folder, names):
        now -= LISTED_FOR  # list it again at the next import
    listings[folder] = names, now
    if names is not None and was_absent and folder in editables.roots:
        shim.log("root available", folder)
        finders.update_namespaces()
    return names or frozenset()


def honor_layer(layer: str, names: "Iterable[str]") -> bool:
    """Honor the editable installs of a layer that has been listed. Return False if another thread honors some."""
    ends = (".pth", ".start") if sys.hexversion >= 0x30F0000 else ".pth"  # until 3.14 is dropped: see `list_pth`
    pth = sorted([name for name in names if name.endswith(ends)])
    if not pth:
        return True
    if shim.loading._is_owned() or not shim.loading.acquire(blocking=False):  # type: ignore[attr-defined]
        return False
    try:
        shim.run_guarded(editables.honor, {layer: pth})
    finally:
        shim.loading.release()
    return True


def is_absent(folder: str) -> bool:
    """Return whether a folder was absent when it was last listed."""
    return listings.get(folder, ((), 0.0))[0] is None


# The names that a root has


def list_offered(root: str) -> "frozenset[str]":
    """Return the top-level names that a root is known to have. The mount is not asked."""
    known = offered.get(root)
    if known is None:
        known = offered[root] = frozenset(read_metadata(root))
    names = listings.get(root, (None, 0.0))[0]
    return known.union([name.partition(".")[0] for name in names]) if names else known


def is_root_without(entry: object, name: str) -> bool:
    """Return whether an entry of `sys.path` is a root on a mount that is not known to have a top-level name."""
    is_root = isinstance(entry, str) and editables.normalize(entry) in editables.served and is_on_mount(entry)
    return is_root and "." not in name and name not in list_offered(entry)  # type: ignore[arg-type]


def find_project(root: str) -> str:
    """Return the name of the project that a root belongs to, normalized, from the name of its `.pth` file."""
    name = editables.files.get(root, "").rpartition("/")[2][:-4]
    if name.startswith("__editable__."):
        return normalize(name[13:].rpartition("-")[0])
    for start in ("_editable_impl_", "_editable_skbc_", "_"):
        if name.startswith(start):
            return normalize(name[len(start) :])
    return normalize(name)


def normalize(name: str) -> str:
    """Return the one spelling of a project's name that can also be a module's."""
    return name.replace("-", "_").replace(".", "_").lower()


def read_metadata(root: str) -> "Iterable[str]":
    """Return the top-level names that the metadata of a root's project lists, in any layer on the local disk.

    setuptools writes `top_level.txt`. With other backends, the metadata of an editable install has no list. Then these
    are known: the names of the project and its folder, the modules of its entry points, and the files of an older copy.
    """
    names = {find_project(root), editables.files.get(root, "").rpartition("/")[2].partition("-")[0]}
    names.update([normalize(part) for part in root.split("/")[-2:]])
    for layer in list(shim.layers):
        for folder in find_metadata(layer, find_project(root)):
            names.update(read_lines(folder + "/top_level.txt"))
            for line in read_lines(folder + "/entry_points.txt"):
                names.add(line.partition("=")[2].strip().partition(":")[0].partition(".")[0])
            for line in read_lines(folder + "/RECORD"):
                first, below, _ = line.partition(",")[0].partition("/")
                names.add(first if below else first.partition(".")[0])
    return names


def find_metadata(layer: str, project: str = "") -> "list[str]":
    """Return the metadata folders of a layer's distributions, or of one."""
    try:
        entries = [entry for entry in posix.listdir(layer) if entry.endswith(".dist-info")]
    except OSError:
        return []
    return [
        "%s/%s" % (layer, entry) for entry in entries if not project or normalize(entry.partition("-")[0]) == project
    ]


def read_lines(file: str) -> "list[str]":
    """Return the lines of a file of metadata, without those after its first 64 kB; none if it can't be read."""
    try:
        with open(file, "rb") as opened:
            return opened.read(METADATA_LIMIT).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


# Names that a root is not known to have


def is_in_new_listing(root: str, fullname: str) -> bool:
    """List a root for a name that it is not known to have, if that is due, and return whether it has the name."""
    now = monotonic()
    if fullname in AT_START or now < missed.get((root, fullname), 0.0):
        return False
    layer = find_library(fullname)
    if (layer and find_project(root) not in list_required(layer)) or is_on_local_disk(root, fullname):
        return False
    list_folder(root, LISTED_FOR)
    if fullname in list_offered(root):
        return True
    listed_at = listings.get(root, ((), now))[1]
    if len(missed) > MISSED_LIMIT:
        missed.clear()
    # A module may have been written since an older listing.
    missed[root, fullname] = listed_at + (LISTED_FOR if is_absent(root) or listed_at < now else MISSED_FOR)
    return False


def is_on_local_disk(root: str, fullname: str) -> bool:
    """Return whether a folder on the local disk, below a root on the path, has a name."""
    now = monotonic()
    found, looked_at = elsewhere.get(fullname, (False, -LISTED_FOR))
    if now - looked_at >= LISTED_FOR:
        known = finders.list_strings(sys.path)
        below = known[known.index(root) + 1 :] if root in known else []
        found = PathFinder.find_spec(fullname, [entry for entry in below if not is_on_mount(entry)]) is not None
        if len(elsewhere) > MISSED_LIMIT:
            elsewhere.clear()
        elsewhere[fullname] = found, now
    return found


def find_library(fullname: str) -> str:
    """Return the layer, or the folder, of the library that looks for a name by itself; empty if it was given the name.

    A name is the library's own if it is in an import statement of the library, or is an optional dependency. It was
    given to the library if it comes from a user's file, a configuration, a pickle or an entry point.
    """
    frame: Any = sys._getframe(1)
    is_statement = True
    while frame is not None:
        file: str = frame.f_code.co_filename
        at = file.find("-packages/")
        if at >= 0:
            library = file[: at + 9]
        else:
            library = next(
                (each for each in (*editables.LIBRARY, *PLATFORM) if each and file.startswith(each + "/")), ""
            )
        if library:
            own = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if own == fullname or (is_statement and is_imported_by(frame.f_code, fullname)):
                return library
            if at >= 0 and normalize(fullname) in list_required(library):
                return library
            if library not in PLATFORM:  # this frame calls `import_module` or the like
                is_statement = False
        elif not file.startswith(NOBODY):
            return ""
        frame = frame.f_back
    return ""


def is_imported_by(code: "CodeType", fullname: str) -> bool:
    """Return whether code has an import statement for a module or one below it."""
    return any([(name + ".").startswith(fullname + ".") for name in code.co_names])


def list_required(layer: str) -> "frozenset[str]":
    """Return the projects that the distributions of a layer require."""
    if layer not in required:
        names: set[str] = set()
        for folder in find_metadata(layer):
            for line in read_lines(folder + "/METADATA"):
                if not line:  # the description follows
                    break
                if line.startswith("Requires-Dist: "):
                    words = "".join([letter if letter.isalnum() or letter in "-_." else " " for letter in line[15:]])
                    names.add(normalize(words.split()[0]))
        required[layer] = frozenset(names)
    return required[layer]


def forget_answers() -> None:
    """Drop what is known of the mount and of metadata."""
    for known in (listings, offered, missed, elsewhere, required):
        known.clear()


def stop() -> None:
    """Have Python's own finders, and Databricks', search the folders again."""
    for entry, finder in list(sys.path_importer_cache.items()):
        kept = (finder, *getattr(finder, "__dict__", {}).values())  # a hook of Databricks keeps a finder of its own
        if any([type(each) is MountFinder for each in kept]):
            sys.path_importer_cache.pop(entry, None)
    remote_folders.clear()
    shim.watched.pop("pkgutil", None)
    forget_answers()
