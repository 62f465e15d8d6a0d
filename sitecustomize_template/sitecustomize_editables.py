# This file is a part of dbx-patch's start-up shim: it honors editable installs. `sitecustomize.py` loads it where a
# layer has a `.pth` file, and is its `shim`; the rules that are said there hold here as well.

import _frozen_importlib_external as importlib_external
import posix
import sys

if False:
    from dbx_patch.sitecustomize_template import sitecustomize as shim
    from dbx_patch.sitecustomize_template._types import *

# --- stamp ---
VERSION = ""
DIGEST = ""
# --- end of stamp ---

PTH_LIMIT = 1 << 20
"""Bytes; a `.pth` file of an editable install has some hundreds."""

ASK_AGAIN_AFTER = 1.0
"""Seconds before an absent root is asked again: each question to a workspace mount is a network call."""

roots = {}  # type: dict[str, str]
"""The roots of editable installs, as they stand on `sys.path`, and the layer that each came from."""
added_roots = set()  # type: set[str]
"""Those of them that `site` had left out."""
served = set()  # type: set[str]
"""All of them, in one spelling."""
honored = []  # type: list[Editable]
"""What has been found, but what was installed again from elsewhere."""


# Editable .pth files


def find_opened():
    # type: () -> set[str]
    """Find the folders whose `.pth` files `site` has read; other layers came to `sys.path` as plain entries."""
    site = sys.modules.get("site")
    if site is None:  # python -S
        return set()
    return {*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""}


def read_editables(layer, names=None):
    # type: (str, list[str] | None) -> list[Editable]
    """List a layer's editable installs, in the order in which `site` honors lines.

    Every other line of a `.pth` file is some package's way to run code at start, and stays unread. `names` are those of
    the layer's `.pth` files. Raises OSError if they can't be listed.
    """
    found = []  # type: list[Editable]
    for name in shim.list_pth(layer) if names is None else names:
        if name.startswith("."):
            continue
        pth = "%s/%s" % (layer.rstrip("/"), name)
        editables = []  # type: list[Editable]
        try:
            for line in filter(None, read_pth(pth)):
                editable = parse_line(layer, pth, line)
                root = editable["root"]
                if shim.is_layer(root):
                    break  # the file lays out `sys.path`, as the one in a notebook's layer does
                if editable["finder"] or (root and "/site-packages/" not in root and "/dist-packages/" not in root):
                    editables.append(editable)
            else:
                found += editables
        except (OSError, ValueError) as error:
            shim.say("%s: %s" % (pth, error))
    return found


def read_pth(pth):
    # type: (str) -> list[str]
    """Read the lines of a `.pth` file, decoded as Python decodes them.

    Raises OSError if it can't be read, and ValueError if it should not be: everybody may write it, or it is no
    regular file of text. A named pipe is opened without waiting for its writer, and refused.
    """
    refused = "refused: everybody may write it"
    try:
        descriptor = posix.open(pth, posix.O_NONBLOCK | posix.O_NOFOLLOW)
    except OSError:
        import os

        if not os.path.islink(pth):
            raise
        if os.stat(os.path.dirname(os.path.realpath(pth))).st_mode & 0o002:
            raise ValueError(refused) from None
        descriptor = posix.open(pth, posix.O_NONBLOCK)
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > PTH_LIMIT:
            raise ValueError("refused: not a regular file of at most %d bytes" % PTH_LIMIT)
        if status.st_mode & 0o002:
            raise ValueError(refused)
        data = posix.read(descriptor, status.st_size + 1)
    finally:
        posix.close(descriptor)
    if b"\0" in data or len(data) != status.st_size:
        raise ValueError("refused: NUL bytes" if b"\0" in data else "it changed as it was read")
    try:
        text = data[3 if data.startswith(b"\xef\xbb\xbf") else 0 :].decode()
    except UnicodeDecodeError:
        import os

        text = os.fsdecode(data)  # by the locale's encoding; a path survives what that can't decode
    if sys.version_info >= (3, 13):
        return text.splitlines()  # there `site` takes \f, \v and Unicode's separators for ends of lines as well
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")


def parse_line(layer, pth, line):
    # type: (str, str, str) -> Editable
    """Take a line apart as `site` does, but without a question to the file system where it has a path.

    A finder's module lies beside its `.pth` file, and has the name that setuptools, editables, scikit-build-core or
    meson-python gives it.
    """
    imports = line.startswith(("import ", "import\t"))
    line = line.rstrip()
    finder = root = ""
    written = 0
    if imports:
        name = line[7:].partition(";")[0].strip()
        if name.isidentifier() and (
            name.startswith(("__editable___", "_editable_")) or name.endswith("_editable_loader")
        ):
            try:
                written = posix.stat("%s/%s.py" % (layer, name)).st_mtime_ns
                finder = name
            except OSError as error:  # it is not there, or not yet
                shim.say("%s: %s" % (pth, error))
    elif line.startswith("/") and "//" not in line and "/." not in line and line[-1] != "/":
        root = line  # it is what `abspath` would make of it, which costs a hundred times as much
    elif line and not line.startswith("#"):
        import os

        root = os.path.abspath(os.path.join(layer, line))
    return {"layer": layer, "pth": pth, "line": line, "root": root, "finder": finder, "written": written}


def honor(changed):
    # type: (dict[str, list[str]]) -> None
    """Run the finders and put the roots on `sys.path` that `site` did not, each in its layer's turn.

    It is given the layers that have changed, with the names of their files.
    """
    found = []  # type: list[Editable]
    for layer, names in changed.items():
        found += read_editables(layer, names)
    if honored:
        found = shim.load("finders").find_new(found)
    honored.extend(found)
    # Finders first: their imports would otherwise search the new roots, and nothing at start may touch those.
    for editable in found:
        if editable["finder"]:
            shim.attempt(shim.load("finders").honor, editable)
    new = []  # type: list[str]
    for editable in found:
        root = editable["root"]
        if root not in roots and not editable["finder"]:
            served.add(one_spelling(root))
            roots[root] = editable["layer"]
            new.append(root)
    if new:
        place_roots(new)
        shim.attempt(guard_roots, new)
    if found:
        shim.forget_answers()
    site = sys.modules.get("site")  # type: Any
    ran = "finders" in shim.loaded and shim.loaded["finders"].ran
    if (added_roots or ran) and site and site.ENABLE_USER_SITE and getattr(site.__spec__, "_initializing", False):
        shim.watched["usercustomize"] = shim.defer("finders", "find_usercustomize")


def place_roots(wanted):
    # type: (Iterable[str]) -> None
    """Put roots right behind their layer, by their names: a folder may not be readable yet (databricks/cli#1619).

    There an editable install wins over a regular copy further down, and loses to what stands above. `site` appends a
    root instead, and so behind every layer that was on the path by then. A root that stands above its layer, stays.
    """
    behind = {}  # type: dict[str, list[str]]
    for root in wanted:
        behind.setdefault(roots[root], []).append(root)
    known = sys.path  # type: list[Any]  # others need not put strings on it
    order = list(known)
    for layer, new in behind.items():
        at = order.index(layer) + 1 if layer in order else len(order)  # somebody may have taken it off the path
        order[at:at] = new
    path = []  # type: list[Any]
    seen = set()  # type: set[str]
    for entry in order:
        spelled = one_spelling(entry) if isinstance(entry, str) else ""
        if spelled in served:
            if spelled in seen:
                continue
            seen.add(spelled)
            if entry not in known:
                added_roots.add(entry)
                shim.say("root %s honored, behind %s" % (entry, roots[entry]))
        path.append(entry)
    if path != known:
        known[:] = path  # in place: Spark Connect binds the list early


def one_spelling(path):
    # type: (str) -> str
    """Spell a workspace path in one way: `/Workspace` is a link to `/.fuse-mounts/wsfs` on some clouds."""
    return (path.rstrip("/") or path[:1]).replace("/.fuse-mounts/wsfs/", "/Workspace/", 1)


# Imports


def guard_roots(new):
    # type: (list[str]) -> None
    """Have roots found by finders of ours, and those asked again that are absent."""
    if latecomers not in sys.meta_path:
        sys.meta_path.append(latecomers)
    if find_root not in sys.path_hooks:
        sys.path_hooks.insert(find_path_hook(), find_root)
    for root in new:
        finder = sys.path_importer_cache.get(root)
        if finder is not None:  # `site` has put the root on the path, and somebody has asked it
            guard(finder)  # type: ignore[arg-type]


def find_root(path):
    # type: (object) -> FileFinder
    """Make the finder of a root, as a path hook. Raises ImportError for other paths, and where Python's own would."""
    if not isinstance(path, str) or one_spelling(path) not in served:
        raise ImportError("not a root")
    finder = sys.path_hooks[find_path_hook()](path)  # type: Any
    guard(finder)
    return finder  # type: ignore[no-any-return]


def find_path_hook():
    # type: () -> int
    """Find Python's own hook for folders among the path hooks; Databricks' stand before it, and are to stay there."""
    for at, hook in enumerate(sys.path_hooks):
        if getattr(hook, "__qualname__", "") == "FileFinder.path_hook.<locals>.path_hook_for_FileFinder":
            return at
    raise ImportError("there is no hook for folders")


def guard(finder):
    # type: (FileFinder) -> None
    """Have Python's own file finder of a root take an error of the mount for an absence, lest it end every import."""
    if type(finder) is importlib_external.FileFinder:
        if not root_finder:
            root_finder.append(make_root_finder())
        finder.__class__ = root_finder[0]


def make_root_finder():
    # type: () -> type[FileFinder]
    """Make the class, when the first root is asked: most starts ask none."""

    class RootFinder(importlib_external.FileFinder):
        def find_spec(self, fullname, target=None):
            # type: (str, ModuleType | None) -> ModuleSpec | None
            try:
                return super().find_spec(fullname, target)
            except OSError as error:
                shim.say("root %s: %r" % (self.path, error))
                if sys.path_importer_cache.get(self.path) is self:
                    sys.path_importer_cache[self.path] = None
                return None

    return RootFinder


root_finder = []  # type: list[type[FileFinder]]
"""The class of roots' file finders, once it was made."""
latecomers = shim.Finder(find_spec=shim.defer("finders", "find_latecomer"))  # type: MetaPathFinderProtocol
