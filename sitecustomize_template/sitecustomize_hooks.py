# This file is a part of dbx-patch's start-up shim: it patches Databricks' import hooks. `sitecustomize.py` loads it
# when the first of them is imported, and is its `shim`; the rules that are said there hold here as well.

import _thread
import sys
from _frozen_importlib_external import FileFinder

if False:
    from dbx_patch.sitecustomize_template import sitecustomize as shim
    from dbx_patch.sitecustomize_template._types import *

# --- stamp ---
VERSION = ""
DIGEST = ""
# --- end of stamp ---

editables = shim.load("editables")  # what is known at run time

LIST_AGAIN_AFTER = 10.0
"""Seconds before a root is listed again for the sake of a name that it did not have."""

listings = {}  # type: dict[str, tuple[frozenset[str], float]]
"""What a root offered when it was last listed, and when it may be listed again, by the monotonic clock."""
packages = {}  # type: dict[tuple[int, str], tuple[FileFinder, object]]
"""The file finder of a hook whose folder is known to be that of an editable install's package, by the hook's id and the
package's name, and the hook itself: it need not be hashable, and must not make place for another."""
diverted = {}  # type: dict[Any, tuple[CodeType, CodeType]]
"""Each function that is patched, with the code that it has now and the code that it had."""
patching = _thread.RLock()
"""Held for a patch alone: one thread may import a hook while another waits for that, and honors an install."""
registered = []  # type: list[Callable[[Callable[..., bool]], object]]
"""What takes our check off an allow-list that it is on."""


class UnknownShapeError(Exception):
    """A hook is not of a shape that we know; it is left as it is."""


# The import of a hook's module


def find(fullname, path, target):
    # type: (str, Sequence[str] | None, ModuleType | None) -> ModuleSpec | None
    """Find a hook's module as the finders behind the shim do, and have it patched once it has run.

    They are asked one by one: `importlib.util.find_spec` in a finder re-enters import locks (dd-trace-py #17742).
    Databricks' own `PostImportHook` does call that, and so comes by here a second time; to patch twice does no harm.
    """
    for finder in list(sys.meta_path):
        ask = getattr(finder, "find_spec", None)
        spec = ask(fullname, path, target) if ask and finder is not shim.watcher else None  # type: ModuleSpec | None
        if spec is not None:
            if spec.loader is not None:
                wrapper = PatchingLoader if hasattr(spec.loader, "exec_module") else PatchingOldLoader
                spec.loader = wrapper(spec.loader, fullname)  # type: ignore[assignment]  # a Loader by its methods
            return spec
    return None


class PatchingOldLoader:
    """Wraps the loader of one module: puts the module's own loader back, loads by that, and patches.

    This one is for loaders that have no `exec_module`, as some of Databricks' have (polars #5331); importlib looks.
    """

    def __init__(self, loader, fullname):
        # type: (Any, str) -> None
        self.loader = loader
        self.fullname = fullname

    def __getattr__(self, name):
        # type: (str) -> Any
        return getattr(self.loader, name)

    def load_module(self, fullname):
        # type: (str) -> ModuleType
        before = list(sys.path)
        module = self.loader.load_module(fullname)  # type: ModuleType
        self.finish(module, before)
        return module

    def finish(self, module, before):
        # type: (ModuleType, list[str]) -> None
        """Patch what has run; it may have put another module in its place, or have changed `sys.path` itself."""
        shim.attempt(put_back_roots, before)
        patch(self.fullname, sys.modules.get(self.fullname, module))


class PatchingLoader(PatchingOldLoader):
    """The same, for all other loaders."""

    def exec_module(self, module):
        # type: (ModuleType) -> None
        before = list(sys.path)
        try:
            module.__spec__.loader = module.__loader__ = self.loader  # type: ignore[union-attr]
        except (AttributeError, TypeError):  # an object of its loader's own, which takes no attributes
            pass
        self.loader.exec_module(module)
        self.finish(module, before)


# Patches: a function for each kind of hook, which is given the function to be patched


def patch(fullname, module):
    # type: (str, ModuleType) -> None
    """Patch a hook's module that has run; leave one alone that is not of a shape we know."""
    name, how = shim.HOOKS[fullname]
    try:
        with patching:
            globals()[how](find_function(module, name))
        set_state(fullname, "patched")
    except Exception as error:
        set_state(fullname, "incompatible: %s" % explain(error))


def explain(error):
    # type: (Exception) -> str
    """Say why a hook could not be patched."""
    return str(error) if isinstance(error, UnknownShapeError) else repr(error)


def find_function(module, name):
    # type: (ModuleType, str) -> Any
    """Find a function of a module, or a method of a class in it. Raises UnknownShapeError if there is none."""
    found = module  # type: Any
    for part in name.split("."):
        try:
            found = vars(found)[part]
        except (KeyError, TypeError):
            raise UnknownShapeError("no %s" % name) from None
    if type(found) is not type(find_function):
        raise UnknownShapeError("%s is a %s, not a function" % (name, type(found).__name__))
    return found


def answer_editables(function):
    # type: (Any) -> None
    """Patch the `find_spec` of a path entry finder that refuses a folder to library code, to spare the mount.

    The names of editable installs are answered from its own file finder, whoever asks, and no stack is walked for
    them. That is the one attribute of it that we need: it is in both shapes of `WsfsImportHook` that were published
    from 12.2 on (databricks-connect), under a mangled name.
    """

    def find_spec(original, self, name, *rest, **named):
        # type: (Any, object, str, *object, **object) -> ModuleSpec | None
        spec = None  # type: ModuleSpec | None
        try:
            package = name.rpartition(".")[0]
            finder = packages.get((id(self), package), (None,))[0]
            if finder is None:
                finder = find_file_finder(self)
                if not offers(finder.path, name, package):
                    finder = None
                elif package:
                    packages[id(self), package] = finder, self
            if finder is not None:
                spec = finder.find_spec(name)
        except OSError as error:  # of the mount
            shim.say("%s: %s: %r" % (function.__module__, name, error))
        except Exception as error:
            set_state(function.__module__, "incompatible: %s" % explain(error))
        if spec is None:
            spec = original(self, name, *rest, **named)
        return spec

    divert(function, find_spec)


def find_file_finder(hook):
    # type: (object) -> FileFinder
    """Find the file finder that a path entry finder keeps. Raises UnknownShapeError if it has none."""
    for value in vars(hook).values():
        if isinstance(value, FileFinder):
            return value
    raise UnknownShapeError("%s keeps no file finder" % type(hook).__name__)


def place_roots_after(function):
    # type: (Any) -> None
    """Patch a function that makes `sys.path`: afterwards the roots are on it."""

    def make_path(original, *args, **named):
        # type: (Any, *object, **object) -> object
        try:
            return original(*args, **named)
        finally:
            shim.attempt(editables.place_roots, editables.roots)

    divert(function, make_path)


def keep_roots(function):
    # type: (Any) -> None
    """Patch a function that drops entries of `sys.path`: the roots that were on it stay."""

    def change_path(original, *args, **named):
        # type: (Any, *object, **object) -> object
        before = list(sys.path)
        try:
            return original(*args, **named)
        finally:
            shim.attempt(put_back_roots, before)

    divert(function, change_path)


def put_back_roots(before):
    # type: (list[Any]) -> None
    """Put each root that was on `sys.path` before back behind what it stood behind, or leave it if it stands higher."""
    for at, root in enumerate(before):
        if not isinstance(root, str) or editables.one_spelling(root) not in editables.served:
            continue
        place = next((sys.path.index(above) + 1 for above in reversed(before[:at]) if above in sys.path), 0)
        found = [index for index, entry in enumerate(sys.path) if is_same(entry, root)]
        stays = bool(found) and found[0] <= place
        for index in reversed(found[stays:]):
            del sys.path[index]
        if not stays:
            sys.path.insert(place, root)


def is_same(entry, root):
    # type: (object, str) -> bool
    """Tell whether a path entry is a root, in either spelling."""
    return isinstance(entry, str) and editables.one_spelling(entry) == editables.one_spelling(root)


def allow_roots(register):
    # type: (Any) -> None
    """Register the roots with autoreload's allow-list, once; those of later installs are allowed as well."""
    name = "deregister_autoreload_allowlist_check"
    deregister = register.__globals__.get(name)
    if not callable(deregister):
        raise UnknownShapeError("no %s" % name)
    # A reload may have kept the list.
    if is_editable_file not in register.__globals__.get("_AUTORELOAD_ALLOWLIST_CHECKS", ()):
        register(is_editable_file)
    registered[:] = [deregister]


def is_editable_file(file, *_more):
    # type: (object, *object) -> bool
    """Tell whether a file lies in a root, or in what a finder has mapped, by path components. Raises nothing."""
    folder = editables.one_spelling(file) if isinstance(file, str) else ""
    mapped = shim.loaded["finders"].mapped.values() if "finders" in shim.loaded else ()
    while folder:
        above, _, name = folder.rpartition("/")
        if folder in editables.served or locate(name) == folder or folder in mapped:
            return True
        folder = above
    return False


# Names of editable installs


def offers(folder, fullname, package):
    # type: (str, str, str) -> bool
    """Tell whether a module that is looked for in a folder is an editable install's: in a root, or below a package."""
    spelled = editables.one_spelling(folder)
    return is_package(spelled, package) if package else spelled in editables.served and lists(folder, fullname)


def is_package(folder, name):
    # type: (str, str) -> bool
    """Tell whether a folder is that of an editable install's package."""
    below = "/" + name.replace(".", "/")
    if folder.endswith(below) and folder[: -len(below)] in editables.served:
        return True
    below = ""
    while name and "finders" in shim.loaded:
        location = locate(name)
        if location:
            return folder == location + below
        name, _, last = name.rpartition(".")
        below = "/" + last + below
    return False


def lists(root, name):
    # type: (str, str) -> bool
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
            names, due = frozenset(), editables.ASK_AGAIN_AFTER
        listings[root] = names, monotonic() + due
    return name in names


def locate(name):
    # type: (str) -> str
    """Ask the finders of editable installs where a module or package is; empty if none of them knows it."""
    finders = shim.loaded.get("finders")
    return finders.locate(name) if finders else ""


def set_state(hook, state):
    # type: (str, str) -> None
    """Note a hook's state."""
    shim.hook_states[hook] = state
    shim.say("%s: %s" % (hook, state))


# How a function is patched, and taken back


def divert(function, around):
    # type: (Any, Callable[..., object]) -> None
    """Have a function call `around` instead, with the original as first argument; once.

    Its code is changed, not the attribute that holds it: whoever has the function already, by `from x import y` or as a
    callback, gets the patch, and whoever has wrapped it gets the original back when the patch is taken back.
    """
    if function in diverted:
        return
    code = function.__code__
    original = type(function)(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    constants = {"dbx_patch_around": around, "dbx_patch_original": original}
    function.__code__ = call_around.__code__.replace(
        co_consts=tuple([constants.get(const, const) for const in call_around.__code__.co_consts]),
        co_freevars=code.co_freevars,  # Python wants as many as the function has cells
        co_name=code.co_name,
    )
    diverted[function] = function.__code__, code


def call_around(*args, **named):
    # type: (*object, **object) -> object
    """Be the code of a function that is diverted, with the two constants filled in."""
    around = "dbx_patch_around"  # type: Any
    original = "dbx_patch_original"  # type: Any
    return around(original, *args, **named)


def stop():
    # type: () -> None
    """Take every patch back, in whatever order others have wrapped the same functions."""
    for function, (ours, code) in diverted.items():
        if function.__code__ is ours:
            function.__code__ = code
    diverted.clear()
    for deregister in registered:
        shim.attempt(deregister, is_editable_file)
    registered.clear()
    shim.hook_states.clear()
    forget_answers()


def forget_answers():
    # type: () -> None
    """Forget what roots were seen to offer."""
    listings.clear()
    packages.clear()
