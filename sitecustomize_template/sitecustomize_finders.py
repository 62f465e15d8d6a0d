# This file is a part of dbx-patch's start-up shim: it has the finders of editable installs asked in their layers'
# turns, and absent roots asked again. `sitecustomize.py` loads it where an install has a finder, or comes later, and
# when an import is about to fail, and is its `shim`; the rules that are said there hold here as well.

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

if False:
    from dbx_patch.sitecustomize_template import sitecustomize as shim
    from dbx_patch.sitecustomize_template._types import *

# --- stamp ---
VERSION = ""
DIGEST = ""
# --- end of stamp ---

editables = shim.load("editables")  # what is known at run time

ran = []  # type: list[str]
"""The modules of finders that `site` had not run."""
finders = []  # type: list[MetaPathFinderProtocol]
"""The finders of editable installs that answer in their layer's turn."""
added_finders = []  # type: list[object]
"""What is on `sys.meta_path` because of them, and was not put there by `site`."""
mapped = {}  # type: dict[str, str]
"""What they have answered: a module's or package's name, and its file or folder, in one spelling; empty if none."""
asked_again = []  # type: list[float]
"""When the absent roots were last asked again, by the monotonic clock."""


# Installs that come later


def find_new(new):
    # type: (list[Editable]) -> list[Editable]
    """Sort out what is honored already, and projects that were installed again from elsewhere.

    Of those this process keeps what it has: modules of the old folder may have been imported, and the new one's would
    not fit them.
    """
    known, now = list_states(editables.honored), list_states(new)
    found = []  # type: list[Editable]
    for editable in new:
        project, state = identify(editable)
        kept = known.get(project, {})
        if not kept.keys() <= now[project].keys():
            shim.say("%s was installed again; this process keeps what it has: %s" % (project[1], ", ".join(kept)))
        elif state not in kept:
            found.append(editable)
    return found


def list_states(installs):
    # type: (list[Editable]) -> dict[tuple[str, str], dict[str, None]]
    """List the states of each project, in their order."""
    states = {}  # type: dict[tuple[str, str], dict[str, None]]
    for editable in installs:
        project, state = identify(editable)
        states.setdefault(project, {})[state] = None
    return states


def identify(editable):
    # type: (Editable) -> tuple[tuple[str, str], str]
    """Tell an editable install's layer and project, whichever version it has, and one state of it from another.

    A state is a root, or a finder as it was written.
    """
    name, state = editable["pth"].rpartition("/")[2][:-4], editable["root"]
    if name == "easy-install":  # of several projects
        name = state
    elif name.startswith("__editable__."):
        name = name[13:].rpartition("-")[0]
    if editable["finder"]:
        state = "%s/%s.py of %d" % (editable["layer"], editable["finder"], editable["written"])
    return (editable["layer"], name), state


# Finders that editable installs bring


def honor(editable):
    # type: (Editable) -> None
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


def release_import_lock():
    # type: () -> int
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


def acquire_import_lock(times):
    # type: (int) -> None
    """Acquire it again."""
    import _imp

    for _ in range(times):
        _imp.acquire_lock()


def place_finder(finder, turn):
    # type: (MetaPathFinderProtocol, MetaPathFinderProtocol) -> None
    """Have a finder's turn come right before the path finder, and not before that, wherever it has put itself.

    meson-python and scikit-build-core put theirs first, where it would win over every layer.
    """
    at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, turn)
    if sys.meta_path.index(finder) < at:
        sys.meta_path.remove(finder)
        sys.meta_path.append(finder)


def take_turns(finder, layer):
    # type: (MetaPathFinderProtocol, str) -> Find
    """Have the finder of an editable install answer after its layer and those above, and before those below."""

    def find_spec(fullname, path=None, target=None):
        # type: (str, Sequence[str] | None, ModuleType | None) -> ModuleSpec | None
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


def find_above(path, above, own):
    # type: (Sequence[str], list[str], str) -> list[str]
    """Find the entries of a package's path that lie in a path entry above; not that of an editable package itself."""
    tops = tuple([top.rstrip("/") + "/" for top in above if top.startswith("/")])
    return [entry for entry in path if entry.startswith(tops) and editables.one_spelling(entry) != own]


def place_of(spec):
    # type: (ModuleSpec) -> str
    """Name the folder of the package that was found, or the file of the module, in one spelling."""
    return editables.one_spelling((spec.submodule_search_locations or [spec.origin or ""])[0])


def find_imported(fullname):
    # type: (str) -> ModuleSpec
    """Answer for a module that an import line has imported while it was looked for: else there would be two of it.

    Where importlib meets a module that came to be in the meantime, it loads that again by its own spec.
    """
    module = sys.modules[fullname]
    own = module.__spec__

    def give(_spec):
        # type: (ModuleSpec) -> ModuleType
        return module

    def put_back(_module):
        # type: (ModuleType) -> None
        module.__spec__ = own

    module.__spec__ = spec = ModuleSpec(fullname, shim.Finder(create_module=give, exec_module=put_back))
    return spec


def locate(name):
    # type: (str) -> str
    """Ask the finders where a module or package is, once; empty if they don't know it."""
    if name not in mapped:
        mapped[name] = ""
        for finder in finders:
            try:
                spec = finder.find_spec(name, None, None)
            except Exception as error:
                shim.say("%r: %s: %r" % (finder, name, error))
                continue
            if spec is not None:
                mapped[name] = place_of(spec)
                break
    return mapped[name]


# Roots


def find_usercustomize(fullname, path, target):
    # type: (str, object, object) -> ModuleSpec
    """Answer the last import that `site` makes, from everywhere but the roots it left out: nothing touches those."""
    del shim.watched[fullname]
    spec = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry not in editables.added_roots])
    if spec is None:
        raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
    return spec


def find_latecomer(fullname, path=None, target=None):
    # type: (str, Sequence[str] | None, ModuleType | None) -> ModuleSpec | None
    """Ask the roots again that were absent so far, where an import is about to fail.

    Python has kept their absence in `sys.path_importer_cache`, and would keep it for good.
    """
    if path is not None:
        return None
    cache = sys.path_importer_cache
    absent = [root for root in editables.roots if cache.get(root, cache) is None and root in sys.path]
    if not absent:
        return None
    import os
    from time import monotonic

    if asked_again and monotonic() < asked_again[0] + editables.ASK_AGAIN_AFTER:
        return None
    asked_again[:] = [monotonic()]
    present = list(filter(os.path.isdir, absent))  # one call each; Python's own path hooks would make four and more
    for root in present:
        shim.say("root %s is there now" % root)
        cache.pop(root, None)
    return PathFinder.find_spec(fullname, present)


# What stands on `sys.meta_path` has been a trampoline to here so far.
editables.latecomers.find_spec = find_latecomer  # type: ignore[method-assign]


def forget_answers():
    # type: () -> None
    """Forget what was answered."""
    mapped.clear()
    asked_again.clear()


def stop():
    # type: () -> None
    """Take back what was done for editable installs; a root that `site` had placed lower stays where it is now."""
    added = [editables.latecomers, *added_finders]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not any(finder is ours for ours in added)]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if hook is not editables.find_root]
    sys.path[:] = [entry for entry in sys.path if entry not in editables.added_roots]
    for name in ran:
        sys.modules.pop(name, None)
    kept = ran, finders, added_finders, editables.roots, editables.added_roots, editables.served, editables.honored
    for known in kept:
        known.clear()
    forget_answers()
