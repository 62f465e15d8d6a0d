# This is the start-up shim of dbx-patch: it makes editable installs importable on Databricks.
# `python -m dbx_patch.uninstall` removes it. The environment variable DBX_PATCH_DISABLE=1 turns it off.
#
# Every start of Python runs this file: it imports only what `site` has loaded by then, prints nothing, lets no
# exception out, and keeps to the syntax of Python 3.9, for we do not choose who starts it. What it avoids, it avoids
# for cause, counted in instructions of a bare start:
# - `typing`, `importlib.util` and `__future__` cost a file or more each; `threading` must not come before gevent
#   (virtualenv #1895).
# - A class costs 0.4 %, a function 0.02 %.
# - `os` as a global costs 1.2 % on 3.10 and 3.11: what stands on `sys.meta_path` lives until the very end there, and
#   with it our globals, and so a large module that would otherwise be gone. Each function imports it for itself.

import sys
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TypedDict

    from _typeshed.importlib import MetaPathFinderProtocol

    Find = Callable[[str, "Sequence[str] | None", "ModuleType | None"], "ModuleSpec | None"]

    class Editable(TypedDict):
        """A line of a `.pth` file that an editable install has written: it has a root, or imports a finder's module."""

        layer: str
        pth: str
        line: str
        root: str
        finder: str


# --- stamp ---
VERSION = "0.1.0"
INSTALLED_AS = ""
GENERATED_FOR = ""
# --- end of stamp ---

LIVE_NAME = "dbx_patch_sitecustomize"
"""The name under which a `sitecustomize` loads this file, and under which it stands in `sys.modules`."""
PTH_LIMIT = 1 << 20
"""Bytes; a `.pth` file of an editable install has some hundreds."""
JOURNAL_LIMIT = 500
"""Lines; the journal lives as long as the interpreter."""
ASK_AGAIN_AFTER = 1.0
"""Seconds before an absent root is asked again: each question to a workspace mount is a network call."""
LIST_AGAIN_AFTER = 10.0
"""Seconds before a root is listed again for the sake of a name that it did not have."""

started = False
journal: "list[str]" = []
roots: "dict[str, str]" = {}
"""The roots of editable installs, as they stand on `sys.path`, and the layer that each came from."""
added_roots: "set[str]" = set()
"""Those of them that `site` had left out."""
served: "set[str]" = set()
"""All of them, in one spelling."""
listings: "dict[str, tuple[frozenset[str], float]]" = {}
"""What a root offered when it was last listed, and when it may be listed again, by the monotonic clock."""
hook_states: "dict[str, str]" = {}
"""For each hook's module `armed`, `patched`, or `incompatible` and why."""


def say(line: str) -> None:
    """Write one decision to the journal, and to stderr as well where DBX_PATCH_DEBUG=1 asks for it."""
    if len(journal) < JOURNAL_LIMIT:
        journal.append(line)
    if switched_on("DBX_PATCH_DEBUG"):
        try:
            sys.stderr.write("dbx-patch: %s\n" % line)
        except (AttributeError, OSError, ValueError):  # closed, or None
            pass


def switched_on(variable: str) -> bool:
    """Tell whether an environment variable is set to anything but nothing or 0."""
    import os

    return os.environ.get(variable, "0") not in ("", "0")


# Layers


def find_layers() -> "list[str]":
    """List the site- and dist-packages folders on `sys.path`, in its order."""
    return list(filter(is_layer, sys.path))


def is_layer(entry: object) -> bool:
    """Tell a layer by its name; what others put on `sys.path` need not be a string."""
    return isinstance(entry, str) and entry.rstrip("/").endswith(("/site-packages", "/dist-packages"))


def find_opened() -> "set[str]":
    """Find the folders whose `.pth` files `site` has read; other layers came to `sys.path` as plain entries."""
    site = sys.modules.get("site")
    if site is None:  # python -S
        return set()
    return {*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""}


# Editable .pth files


def read_editables(layer: str) -> "list[Editable]":
    """List a layer's editable installs, in the order in which `site` honors lines.

    Every other line of a `.pth` file is some package's way to run code at start, and stays unread.
    """
    import os

    try:
        names = os.listdir(layer)
    except OSError as error:
        say("layer %s: %s" % (layer, error))
        return []
    found: "list[Editable]" = []
    for name in sorted([name for name in names if name.endswith(".pth") and not name.startswith(".")]):
        pth = os.path.join(layer, name)
        editables: "list[Editable]" = []
        try:
            for line in read_pth(pth):
                editable = parse_line(layer, pth, line)
                if is_layer(editable["root"]):
                    break  # the file lays out `sys.path`, as the one in a notebook's layer does
                if is_editable(editable, names):
                    editables.append(editable)
            else:
                found += editables
        except (OSError, ValueError) as error:
            say("%s: %s" % (pth, error))
    return found


def read_pth(pth: str) -> "list[str]":
    """Read the lines of a `.pth` file, decoded as Python decodes them.

    Raises OSError if it can't be read, and ValueError if it should not be: everybody may write it, or it is no
    regular file of text. A named pipe is opened without waiting for its writer, and refused.
    """
    import os

    descriptor = os.open(pth, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", 0) as file:
        status = os.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > PTH_LIMIT:
            raise ValueError("refused: not a regular file of at most %d bytes" % PTH_LIMIT)
        if status.st_mode & 0o002:
            raise ValueError("refused: everybody may write it")
        data = file.readall()
    if b"\0" in data:
        raise ValueError("refused: NUL bytes")
    try:
        text = data[3 if data.startswith(b"\xef\xbb\xbf") else 0 :].decode()
    except UnicodeDecodeError:
        text = os.fsdecode(data)  # by the locale's encoding; a path survives what that can't decode
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_line(layer: str, pth: str, line: str) -> "Editable":
    """Take a line apart as `site` does, but without a question to the file system."""
    import os

    line = line.rstrip()
    finder = line[7:].partition(";")[0].strip() if line.startswith(("import ", "import\t")) else ""
    root = "" if finder or not line or line.startswith("#") else os.path.abspath(os.path.join(layer, line))
    return {"layer": layer, "pth": pth, "line": line, "root": root, "finder": finder}


def is_editable(editable: "Editable", names: "list[str]") -> bool:
    """Tell an editable install's line: a path that leads out of the layers, or the import of a known finder's module.

    Such a module lies beside its `.pth` file, and has the name that setuptools, editables, scikit-build-core or
    meson-python gives it.
    """
    finder = editable["finder"]
    if finder:
        known = finder.startswith(("__editable___", "_editable_")) or finder.endswith("_editable_loader")
        return known and finder + ".py" in names
    folder = editable["root"] + "/"
    return folder != "/" and "/site-packages/" not in folder and "/dist-packages/" not in folder


def honor_editables() -> None:
    """Run the finders and put the roots on `sys.path` that `site` did not, each in its layer's turn."""
    opened = find_opened()
    editables: "list[Editable]" = []
    for layer in find_layers():
        editables += read_editables(layer)
    # Finders first: their imports would otherwise search the new roots, and nothing at start may touch those.
    for editable in editables:
        if editable["finder"] and editable["layer"] not in opened:
            run_finder(editable)
    place_roots(editables)


def run_finder(editable: "Editable") -> None:
    """Run an import line, and have its finder asked in its layer's turn."""
    if editable["finder"] in sys.modules:
        return
    before = list(sys.meta_path)
    try:
        exec(editable["line"], {})  # as `site` would, had it opened the layer
    except BaseException as error:  # SystemExit would end the interpreter
        say("%s: %s: %r" % (editable["pth"], editable["line"], error))
        return
    for finder in list(sys.meta_path):
        if finder in before:
            continue
        at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(at, Finder(find_spec=take_turns(finder, editable["layer"])))
    say("%s: finder honored" % editable["pth"])


def take_turns(finder: "MetaPathFinderProtocol", layer: str) -> "Find":
    """Have the finder of an editable install answer after its layer and those above, and before those below."""

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        spec = finder.find_spec(fullname, path, target)
        if spec is None or path is not None or layer not in sys.path:
            return spec
        above = PathFinder.find_spec(fullname, sys.path[: sys.path.index(layer) + 1])
        return spec if above is None or above.loader is None else above

    return find_spec


def place_roots(editables: "list[Editable]") -> None:
    """Put each root right behind its layer, by its name: its folder may not be readable yet (databricks/cli#1619).

    There an editable install wins over a regular copy further down, and loses to what stands above. `site` appends a
    root instead, and so behind every layer that was on the path by then.
    """
    behind: "dict[str, list[str]]" = {}
    for editable in editables:
        root = editable["root"]
        if root:
            roots.setdefault(root, editable["layer"])
            served.add(one_spelling(root))
            behind.setdefault(editable["layer"], []).append(root)
    path: "list[str]" = []
    for entry in sys.path:
        if entry not in roots or entry not in path:
            path.append(entry)
        for root in behind.pop(entry, ()):
            if root not in path:
                path.append(root)
    for root in path:
        if root in roots and root not in sys.path:
            added_roots.add(root)
            say("root %s honored, behind %s" % (root, roots[root]))
    if path != sys.path:
        sys.path[:] = path  # in place: Spark Connect binds the list early


def one_spelling(path: str) -> str:
    """Spell a workspace path in one way: `/Workspace` is a link to `/.fuse-mounts/wsfs` on some clouds."""
    return path.rstrip("/").replace("/.fuse-mounts/wsfs/", "/Workspace/", 1)


# Hooks: a function for each, which looks for what it needs, wraps it, and returns the hook's state


def patch_wsfs_import_hook(module: "ModuleType") -> str:
    """Have `WsfsImportHook` answer the names of editable installs whoever asks, and walk no stack for them.

    It serves the folders below `/Workspace`, and refuses them to library code to spare the mount. The file finder
    that knows the answer is in a mangled attribute, in both shapes published since 12.2 (databricks-connect).
    """
    hook = vars(module).get("WsfsImportHook")
    original = vars(hook).get("find_spec") if isinstance(hook, type) else None
    if hook is None or not callable(original):
        return "incompatible: no WsfsImportHook.find_spec"
    if hasattr(original, "dbx_patch_original"):
        return "patched"

    def dbx_patch_find_spec(self: object, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        spec: "ModuleSpec | None" = None
        try:
            finder = vars(self)["_WsfsImportHook__finder"]
            if offers(finder.path, fullname):
                spec = finder.find_spec(fullname, target)
        except Exception as error:
            say("WsfsImportHook: %s: %r" % (fullname, error))
        if spec is None:
            spec = original(self, fullname, target)
        return spec

    dbx_patch_find_spec.dbx_patch_original = original  # type: ignore[attr-defined]
    hook.find_spec = dbx_patch_find_spec
    return "patched"


def offers(folder: str, fullname: str) -> bool:
    """Tell whether a module that is looked for in a folder is an editable install's: in a root, or below a package."""
    spelled = one_spelling(folder)
    package = fullname.rpartition(".")[0]
    if not package:
        return spelled in served and lists(folder, fullname)
    below = "/" + package.replace(".", "/")
    return spelled.endswith(below) and spelled[: -len(below)] in served


def lists(root: str, name: str) -> bool:
    """Tell whether a root has a top-level name, from a listing that is seldom renewed.

    Names that no root has are asked for all day, and the hook exists to spare the mount those questions.
    """
    import os
    from time import monotonic

    names, due = listings.get(root, (frozenset(), 0.0))
    if name not in names and monotonic() >= due:
        try:
            names, due = frozenset([entry.partition(".")[0] for entry in os.listdir(root)]), LIST_AGAIN_AFTER
        except OSError:
            names, due = frozenset(), ASK_AGAIN_AFTER
        listings[root] = names, monotonic() + due
    return name in names


HOOKS: "dict[str, Callable[[ModuleType], str]]" = {
    "dbruntime.wsfs_import_hook": patch_wsfs_import_hook,  # the driver's, before DBR 18
    "pyspark.wsfs_import_hook": patch_wsfs_import_hook,  # the executors', on every runtime
}


def patch(fullname: str, module: "ModuleType") -> None:
    """Patch one hook's module, which has been run."""
    try:
        hook_states[fullname] = HOOKS[fullname](module)
    except Exception as error:
        hook_states[fullname] = "incompatible: %r" % error
    say("%s: %s" % (fullname, hook_states[fullname]))


# Finders


def find_watched(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Watch for a few names, before all other finders: one look-up in a dict for every other import."""
    find = watched.get(fullname)
    return None if find is None else find(fullname, path, target)


def find_hook(fullname: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
    """Find a hook's module as the finders behind us do, and have it patched once it has run.

    They are asked one by one: `importlib.util.find_spec` in a finder re-enters import locks (dd-trace-py #17742).
    """
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        spec: "ModuleSpec | None" = find(fullname, path, target) if find and finder is not watcher else None
        if spec is not None:
            if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                spec.loader = patching(spec.loader, fullname)
            return spec
    return None


def patching(loader: "Loader", fullname: str) -> "Loader":
    """Wrap a loader for one module: it puts the module's own loader back, runs the module by that, and patches."""

    class PatchingLoader:  # Loader
        def __getattr__(self, name: str) -> object:
            return getattr(loader, name)

        def exec_module(self, module: "ModuleType") -> None:
            try:
                module.__spec__.loader = module.__loader__ = loader  # type: ignore[union-attr]
            except (AttributeError, TypeError):  # an object of its loader's own, which takes no attributes
                pass
            loader.exec_module(module)
            patch(fullname, sys.modules.get(fullname, module))  # it may have put another in its place

    return PatchingLoader()  # type: ignore[return-value]  # a Loader by its methods


def find_usercustomize(fullname: str, path: object, target: object) -> "ModuleSpec":
    """Answer the last import that `site` makes, from everywhere but the roots it left out: nothing touches those."""
    del watched[fullname]
    spec = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry not in added_roots])
    if spec is None:
        raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
    return spec


def find_latecomer(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Ask the roots again that were absent so far, where an import is about to fail.

    Python has kept their absence in `sys.path_importer_cache`, and would keep it for good.
    """
    cache = sys.path_importer_cache
    absent = [root for root in roots if cache.get(root, watcher) is None and root in sys.path]
    if path is not None or not absent:
        return None
    import os
    from time import monotonic

    if asked_again and monotonic() < asked_again[0] + ASK_AGAIN_AFTER:
        return None
    asked_again[:] = [monotonic()]
    present = list(filter(os.path.isdir, absent))  # one call each; Python's own path hooks would make four and more
    for root in present:
        say("root %s is there now" % root)
        cache.pop(root, None)
    return PathFinder.find_spec(fullname, present)


def forget_answers() -> None:
    """Forget what roots answered, as `importlib.invalidate_caches` asks every finder to."""
    listings.clear()
    asked_again.clear()


asked_again: "list[float]" = []
"""When the absent roots were last asked again, by the monotonic clock."""
watched: "dict[str, Find]" = {"usercustomize": find_usercustomize, **dict.fromkeys(HOOKS, find_hook)}
Finder: "Any" = type(sys.implementation)  # `types.SimpleNamespace`; nobody has imported `types` yet
watcher: "MetaPathFinderProtocol" = Finder(find_spec=find_watched, invalidate_caches=forget_answers)
latecomers: "MetaPathFinderProtocol" = Finder(find_spec=find_latecomer)


def watch() -> None:
    """Wait for the hooks' modules, and patch those that have been imported; import none of them."""
    if watcher not in sys.meta_path:
        sys.meta_path.insert(0, watcher)
        sys.meta_path.append(latecomers)
    for fullname in HOOKS:
        if fullname in sys.modules:
            patch(fullname, sys.modules[fullname])
        else:
            hook_states[fullname] = "armed"


def start() -> None:
    """Do all of it: nothing raised, nothing printed, and no step kept from running by the one before."""
    global started
    try:
        if switched_on("DBX_PATCH_DISABLE"):
            return
        for step in (honor_editables, watch):
            try:
                step()
            except BaseException as error:
                say("%s: %r" % (step.__name__, error))
        started = True
    except BaseException:  # Python starts, whatever is the matter here
        pass


if __name__ == LIVE_NAME:
    start()
