# This file is a part of dbx-patch's start-up shim: it honors editable installs. `sitecustomize.py` loads it where a
# layer has a `.pth` file, and is its `shim`; the rules that are said there hold here as well.

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import FileFinder, PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType
    from typing import Any, TypedDict

    from _typeshed.importlib import MetaPathFinderProtocol
    from dbx_patch.sitecustomize_template import sitecustomize as shim
    from dbx_patch.sitecustomize_template.sitecustomize import Find

    class Editable(TypedDict):
        """A line of a `.pth` file that an editable install has written: it has a root, or imports a finder's module."""

        layer: str
        pth: str
        line: str
        root: str
        finder: str


# --- stamp ---
VERSION = ""
DIGEST = ""
# --- end of stamp ---

PTH_LIMIT = 1 << 20
"""Bytes; a `.pth` file of an editable install has some hundreds."""
ASK_AGAIN_AFTER = 1.0
"""Seconds before an absent root is asked again: each question to a workspace mount is a network call."""

roots: "dict[str, str]" = {}
"""The roots of editable installs, as they stand on `sys.path`, and the layer that each came from."""
added_roots: "set[str]" = set()
"""Those of them that `site` had left out."""
served: "set[str]" = set()
"""All of them, in one spelling."""
installs: "dict[tuple[str, str], list[str]]" = {}
"""Each layer's projects, and what of them is honored."""
honored: "set[str]" = set()
"""All of that."""
finders: "list[MetaPathFinderProtocol]" = []
"""The finders of editable installs that answer in their layer's turn."""
added_finders: "list[object]" = []
"""What is on `sys.meta_path` because of editable installs, and was not put there by `site`."""
ran: "list[str]" = []
"""The modules of finders that `site` had not run."""
mapped: "dict[str, str]" = {}
"""What these have answered: a module's or package's name, and its file or folder, in one spelling; empty if none."""
asked_again: "list[float]" = []
"""When the absent roots were last asked again, by the monotonic clock."""


# Layers


def find_opened() -> "set[str]":
    """Find the folders whose `.pth` files `site` has read; other layers came to `sys.path` as plain entries."""
    site = sys.modules.get("site")
    if site is None:  # python -S
        return set()
    return {*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""}


# Editable .pth files


def read_editables(layer: str, names: "list[str] | None" = None) -> "list[Editable]":
    """List a layer's editable installs, in the order in which `site` honors lines.

    Every other line of a `.pth` file is some package's way to run code at start, and stays unread. `names` are those of
    the layer's files. Raises OSError if they can't be listed.
    """
    import os

    if names is None:
        names = os.listdir(layer)
    found: "list[Editable]" = []
    for name in sorted([name for name in names if name.endswith(".pth") and not name.startswith(".")]):
        pth = os.path.join(layer, name)
        editables: "list[Editable]" = []
        try:
            for line in read_pth(pth):
                editable = parse_line(layer, pth, line)
                if shim.is_layer(editable["root"]):
                    break  # the file lays out `sys.path`, as the one in a notebook's layer does
                if is_editable(editable, names):
                    editables.append(editable)
            else:
                found += editables
        except (OSError, ValueError) as error:
            shim.say("%s: %s" % (pth, error))
    return found


def read_pth(pth: str) -> "list[str]":
    """Read the lines of a `.pth` file, decoded as Python decodes them.

    Raises OSError if it can't be read, and ValueError if it should not be: everybody may write it, or it is no
    regular file of text. A named pipe is opened without waiting for its writer, and refused.
    """
    import os

    descriptor = os.open(pth, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > PTH_LIMIT:
            raise ValueError("refused: not a regular file of at most %d bytes" % PTH_LIMIT)
        if status.st_mode & 0o002 or (os.path.islink(pth) and is_open_to_all(os.path.dirname(os.path.realpath(pth)))):
            raise ValueError("refused: everybody may write it")
        data = file.read(PTH_LIMIT)
    if b"\0" in data:
        raise ValueError("refused: NUL bytes")
    try:
        text = data[3 if data.startswith(b"\xef\xbb\xbf") else 0 :].decode()
    except UnicodeDecodeError:
        text = os.fsdecode(data)  # by the locale's encoding; a path survives what that can't decode
    if sys.version_info >= (3, 13):
        return text.splitlines()  # there `site` takes \f, \v and Unicode's separators for ends of lines as well
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_line(layer: str, pth: str, line: str) -> "Editable":
    """Take a line apart as `site` does, but without a question to the file system."""
    import os

    imports = line.startswith(("import ", "import\t"))
    line = line.rstrip()
    finder = line[7:].partition(";")[0].strip() if imports else ""
    root = "" if imports or not line or line.startswith("#") else os.path.abspath(os.path.join(layer, line))
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


def honor(changed: "dict[str, list[str]]") -> None:
    """Run the finders and put the roots on `sys.path` that `site` did not, each in its layer's turn.

    It is given the layers that have changed, with the names of their files.
    """
    found: "list[Editable]" = []
    for layer, names in changed.items():
        try:
            if is_open_to_all(layer):
                shim.say("layer %s refused: everybody may write to it" % layer)
            else:
                found += find_new(read_editables(layer, names))
        except (OSError, ValueError) as error:  # something has gone since it was listed: it is read again
            shim.layers[layer] = None
            shim.say("layer %s: %r" % (layer, error))
    # Finders first: their imports would otherwise search the new roots, and nothing at start may touch those.
    new: "list[str]" = []
    for editable in found:
        root = editable["root"]
        if editable["finder"]:
            shim.attempt(honor_finder, editable)
        elif root not in roots:
            served.add(one_spelling(root))
            roots[root] = editable["layer"]
            new.append(root)
    if new:
        place_roots(new)
        shim.attempt(guard_roots, new)
    if found:
        shim.forget_answers()
    site: "Any" = sys.modules.get("site")
    if (added_roots or ran) and site and site.ENABLE_USER_SITE and getattr(site.__spec__, "_initializing", False):
        shim.watched["usercustomize"] = find_usercustomize


def find_new(editables: "list[Editable]") -> "list[Editable]":
    """Sort out what is honored already, and projects that were installed again from elsewhere.

    Of those this process keeps what it has: modules of the old folder may have been imported, and the new one's would
    not fit them.
    """
    now: "dict[tuple[str, str], list[str]]" = {}
    for editable in editables:
        now.setdefault(project_of(editable), []).append(state_of(editable))
    changed: "set[tuple[str, str]]" = set()
    for project, states in now.items():
        known = installs.setdefault(project, states)
        if known is not states and not set(states).issuperset(known):
            changed.add(project)
            shim.say("%s was installed again; this process keeps what it has: %s" % (project[1], ", ".join(known)))
    found: "list[Editable]" = []
    for editable in editables:
        project, state = project_of(editable), state_of(editable)
        if project not in changed and state not in honored:
            honored.add(state)
            found.append(editable)
    return found


def project_of(editable: "Editable") -> "tuple[str, str]":
    """Name an editable install's layer and project, whichever version it has; its root where a file has several."""
    import os

    name = os.path.basename(editable["pth"])[:-4]
    if name == "easy-install":
        name = editable["root"]
    elif name.startswith("__editable__."):
        name = name[13:].rpartition("-")[0]
    return editable["layer"], name


def state_of(editable: "Editable") -> str:
    """Tell one state of an editable install from another: its root, or its finder as it was written."""
    import os

    if not editable["finder"]:
        return editable["root"]
    file = os.path.join(editable["layer"], editable["finder"] + ".py")
    return "%s of %d" % (file, os.stat(file).st_mtime_ns)


def is_open_to_all(folder: str) -> bool:
    """Tell whether everybody may put files into a folder."""
    import os

    return bool(os.stat(folder).st_mode & 0o002)


def honor_finder(editable: "Editable") -> None:
    """Run an import line, unless `site` has, and have its finder asked in its layer's turn."""
    runs = editable["finder"] not in sys.modules
    if runs:
        ran.append(editable["finder"])
        before = dict(sys.modules)
        held = release_import_lock()
        try:
            exec(editable["line"], {})  # as `site` would, had it opened the layer
        except BaseException as error:  # SystemExit would end the interpreter
            from traceback import format_exception

            lines = format_exception(type(error), error, error.__traceback__)
            shim.say("%s: %s\n%s" % (editable["pth"], editable["line"], "".join(lines)))
        finally:
            acquire_import_lock(held)
            for name, module in before.items():
                # Python does not start where `site` vanishes while it is imported.
                if name not in sys.modules and getattr(getattr(module, "__spec__", None), "_initializing", False):
                    sys.modules[name] = module
    for finder in list(sys.meta_path):
        # `editables` is the library behind the finders of hatchling and pdm-backend; the others bring their own class.
        if getattr(finder, "__module__", "") in (editable["finder"], "editables.redirector") and finder not in finders:
            finders.append(finder)
            turn = shim.Finder(find_spec=take_turns(finder, editable["layer"]))
            place_finder(finder, turn)
            added_finders.extend([turn, finder] if runs else [turn])
            shim.say("%s: finder honored" % editable["pth"])


def release_import_lock() -> int:
    """Release the lock under which importlib asks finders; return how often this thread held it.

    An import line may need a module that another thread is importing, and that thread needs the lock to go on.
    """
    import _imp

    held = 0
    try:
        while True:
            _imp.release_lock()
            held += 1
    except RuntimeError:  # not, or no longer, ours
        return held


def acquire_import_lock(times: int) -> None:
    """Acquire it again."""
    import _imp

    for _ in range(times):
        _imp.acquire_lock()


def place_finder(finder: "MetaPathFinderProtocol", turn: "MetaPathFinderProtocol") -> None:
    """Have a finder's turn come right before the path finder, and not before that, wherever it has put itself.

    meson-python and scikit-build-core put theirs first, where it would win over every layer.
    """
    at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, turn)
    if sys.meta_path.index(finder) < at:
        sys.meta_path.remove(finder)
        sys.meta_path.append(finder)


def take_turns(finder: "MetaPathFinderProtocol", layer: str) -> "Find":
    """Have the finder of an editable install answer after its layer and those above, and before those below."""

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        try:
            spec = finder.find_spec(fullname, path, target)
        except Exception as error:  # it stands where it put itself as well, and raises there as it would without us
            shim.say("%r: %s: %r" % (finder, fullname, error))
            return None
        if spec is None:
            return None
        if layer in sys.path:
            entries = sys.path[: sys.path.index(layer) + 1]
            if path is not None:
                entries = find_above(path, entries, mapped.get(fullname.rpartition(".")[0], ""))
            above = PathFinder.find_spec(fullname, entries) if entries else None
            if above is not None and above.loader is not None:
                return above
            if path is not None and len(entries) == len(path):
                return None  # its package comes from above, and so has no such module
        mapped[fullname] = place_of(spec)
        return spec

    return find_spec


def find_above(path: "Sequence[str]", above: "list[str]", own: str) -> "list[str]":
    """Find the entries of a package's path that lie in a path entry above; not that of an editable package itself."""
    tops = tuple([top.rstrip("/") + "/" for top in above if top.startswith("/")])
    return [entry for entry in path if entry.startswith(tops) and one_spelling(entry) != own]


def place_roots(wanted: "Iterable[str]") -> None:
    """Put roots right behind their layer, by their names: a folder may not be readable yet (databricks/cli#1619).

    There an editable install wins over a regular copy further down, and loses to what stands above. `site` appends a
    root instead, and so behind every layer that was on the path by then. A root that stands above its layer, stays.
    """
    behind: "dict[str, list[str]]" = {}
    for root in wanted:
        behind.setdefault(roots[root], []).append(root)
    if not behind:
        return
    path: "list[Any]" = []
    seen: "set[str]" = set()
    known: "list[Any]" = sys.path  # others need not put strings on it
    for entry in known:
        spelled = one_spelling(entry) if isinstance(entry, str) else ""
        if spelled not in seen:
            path.append(entry)
        if spelled in served:
            seen.add(spelled)
        if shim.is_layer(entry):
            append_roots(behind.pop(entry, []), path, seen)
    for left in behind.values():  # somebody has taken their layer off the path
        append_roots(left, path, seen)
    if path != sys.path:
        sys.path[:] = path  # in place: Spark Connect binds the list early


def append_roots(wanted: "list[str]", path: "list[Any]", seen: "set[str]") -> None:
    """Append the roots to a path that it does not have in either spelling."""
    for root in wanted:
        if one_spelling(root) not in seen:
            seen.add(one_spelling(root))
            path.append(root)
            if root not in sys.path:
                added_roots.add(root)
                shim.say("root %s honored, behind %s" % (root, roots[root]))


def place_of(spec: "ModuleSpec") -> str:
    """Name the folder of the package that was found, or the file of the module, in one spelling."""
    return one_spelling((spec.submodule_search_locations or [spec.origin or ""])[0])


def one_spelling(path: str) -> str:
    """Spell a workspace path in one way: `/Workspace` is a link to `/.fuse-mounts/wsfs` on some clouds."""
    return (path.rstrip("/") or path[:1]).replace("/.fuse-mounts/wsfs/", "/Workspace/", 1)


# Finders


def find_usercustomize(fullname: str, path: object, target: object) -> "ModuleSpec":
    """Answer the last import that `site` makes, from everywhere but the roots it left out: nothing touches those."""
    del shim.watched[fullname]
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
    absent = [root for root in roots if cache.get(root, cache) is None and root in sys.path]
    if path is not None or not absent:
        return None
    import os
    from time import monotonic

    if asked_again and monotonic() < asked_again[0] + ASK_AGAIN_AFTER:
        return None
    asked_again[:] = [monotonic()]
    present = list(filter(os.path.isdir, absent))  # one call each; Python's own path hooks would make four and more
    for root in present:
        shim.say("root %s is there now" % root)
        cache.pop(root, None)
    return PathFinder.find_spec(fullname, present)


def find_imported(fullname: str) -> "ModuleSpec":
    """Answer for a module that an import line has imported while it was looked for: else there would be two of it.

    Where importlib meets a module that came to be in the meantime, it loads that again by its own spec.
    """
    module = sys.modules[fullname]
    module.__spec__ = spec = ModuleSpec(fullname, ImportedLoader(module))  # type: ignore[arg-type]  # by its methods
    return spec


class ImportedLoader:
    """Gives a module as it is, and its spec back."""

    def __init__(self, module: "ModuleType") -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, _spec: "ModuleSpec") -> "ModuleType":
        return self.module

    def exec_module(self, module: "ModuleType") -> None:
        module.__spec__ = self.spec


class RootFinder(FileFinder):
    """The file finder of a root, for which an error of the mount is an absence: one root must not end every import."""

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Find a module in the root."""
        try:
            return super().find_spec(fullname, target)
        except OSError as error:
            shim.say("root %s: %r" % (self.path, error))
            if sys.path_importer_cache.get(self.path) is self:
                sys.path_importer_cache[self.path] = None
            return None


def guard_roots(new: "list[str]") -> None:
    """Have roots found by finders of ours, and those asked again that are absent."""
    if latecomers not in sys.meta_path:
        sys.meta_path.append(latecomers)
    if find_root not in sys.path_hooks:
        sys.path_hooks.insert(find_path_hook(), find_root)
    for root in new:
        finder = sys.path_importer_cache.get(root)
        if type(finder) is FileFinder:  # `site` has put the root on the path, and somebody has asked it
            finder.__class__ = RootFinder


def find_root(path: object) -> "RootFinder":
    """Make the finder of a root, as a path hook. Raises ImportError for other paths, and where Python's own would."""
    if not isinstance(path, str) or one_spelling(path) not in served:
        raise ImportError("not a root")
    finder = sys.path_hooks[find_path_hook()](path)
    if type(finder) is FileFinder:
        finder.__class__ = RootFinder
    return finder  # type: ignore[return-value]


def find_path_hook() -> int:
    """Find Python's own hook for folders among the path hooks; Databricks' stand before it, and are to stay there."""
    for at, hook in enumerate(sys.path_hooks):
        if getattr(hook, "__qualname__", "") == "FileFinder.path_hook.<locals>.path_hook_for_FileFinder":
            return at
    raise ImportError("there is no hook for folders")


def forget_answers() -> None:
    """Forget what was answered."""
    mapped.clear()
    asked_again.clear()


latecomers: "MetaPathFinderProtocol" = shim.Finder(find_spec=find_latecomer)


def stop() -> None:
    """Take back what was done here; a root that `site` had placed lower stays where it was moved to."""
    added = [latecomers, *added_finders]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not any(finder is ours for ours in added)]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if hook is not find_root]
    sys.path[:] = [entry for entry in sys.path if entry not in added_roots]
    for name in ran:
        sys.modules.pop(name, None)
    for known in (roots, added_roots, served, installs, honored, finders, added_finders, ran):
        known.clear()
    forget_answers()
