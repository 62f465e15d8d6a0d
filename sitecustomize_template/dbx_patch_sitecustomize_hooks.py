# This file is a part of dbx-patch's start-up shim: it patches Databricks' import hooks. `dbx_patch_sitecustomize.py`,
# which is `shim` here, loads it when the first hook is imported, and with DBX_PATCH_DEBUG=1 at each start. The rules at
# the top of that file hold here as well.

import _thread
import posix
import sys
from _frozen_importlib_external import FileFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import EventKind
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_turns as turns

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")
    turns = shim.load("turns")

patched: "list[Any]" = []
"""The functions that are patched."""
patching = _thread.RLock()
"""Held while one hook is patched, never while a module is imported: two threads could then wait for each other."""
# A thread that is not in a forked child can't release it there.
posix.register_at_fork(after_in_child=patching._at_fork_reinit)  # type: ignore[attr-defined]
registered: "list[Callable[[Callable[..., bool]], object]]" = []
"""The function that removes our check from autoreload's allow-list, if the check is on it."""


class UnknownShapeError(Exception):
    """A hook is not of a known shape, so it is left as it is."""


# The import of a hook's module


def find(fullname: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
    """Find a hook's module with the other finders, and wrap its loader so that the module is patched after it has run.

    The finders are asked one by one: `importlib.util.find_spec` takes import locks again, and inside a finder that can
    deadlock (https://github.com/DataDog/dd-trace-py/issues/17742). Databricks' own `PostImportHook` does call it, so an
    import can pass through here twice. A function is patched only once.
    """
    for finder in list(sys.meta_path):
        ask = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = ask(fullname, path, target) if ask and finder is not shim.watcher else None
        if spec is not None:
            if spec.loader is not None:
                wrapper = PatchingLoader if hasattr(spec.loader, "exec_module") else PatchingOldLoader
                spec.loader = wrapper(spec.loader, fullname)  # type: ignore[assignment]  # a Loader by its methods
            return spec
    return None


class PatchingOldLoader:
    """Wraps the loader of a hook's module: loads the module with that loader, then patches it.

    This class wraps loaders without `exec_module`, and must not have one: importlib would call it. Some of Databricks'
    loaders have only `load_module` (https://github.com/pola-rs/polars/issues/5331).
    """

    def __init__(self, loader: "Any", fullname: str) -> None:
        self.loader = loader
        self.fullname = fullname

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.loader, name)

    def load_module(self, fullname: str) -> "ModuleType":
        before = list(sys.path)
        module: ModuleType = self.loader.load_module(fullname)
        self.finish(module, before)
        return module

    def finish(self, module: "ModuleType", before: "list[str]") -> None:
        """Restore the roots that the module's code removed, then patch the module that `sys.modules` has now."""
        shim.run_guarded(restore_roots, before)
        patch(self.fullname, sys.modules.get(self.fullname, module))


class PatchingLoader(PatchingOldLoader):
    """Wraps a loader that has `exec_module`."""

    def exec_module(self, module: "ModuleType") -> None:
        before = list(sys.path)
        try:
            module.__spec__.loader = module.__loader__ = self.loader  # type: ignore[union-attr]
        except (AttributeError, TypeError):  # the loader's own type of spec or module has no such attribute
            pass
        self.loader.exec_module(module)
        self.finish(module, before)


# Patches: one function for each kind of hook. Its argument is the function to patch


def patch(fullname: str, module: "ModuleType") -> None:
    """Patch a hook's module that has run. Leave it as it is if its shape is unknown."""
    name, how = shim.HOOKS[fullname]
    try:
        with patching:
            PATCHES[how](find_function(module, name))
        set_hook_state(fullname, "hook patched")
    except Exception as error:
        set_hook_state(fullname, "hook incompatible", explain(error))


def set_hook_state(module: str, kind: "EventKind", reason: str = "") -> None:
    """Log `hook patched` or `hook incompatible`, and make the second word of it the hook's state."""
    shim.hook_states[module] = kind[5:] + (": " + reason if reason else "")
    shim.log(kind, module, reason)


def explain(error: "Exception") -> str:
    """Return why a hook could not be patched."""
    return str(error) if isinstance(error, UnknownShapeError) else repr(error)


def find_function(module: "ModuleType", name: str) -> "Any":
    """Return a function of a module, or a method of a class in it. Raises UnknownShapeError if there is none."""
    found: Any = module
    for part in name.split("."):
        try:
            found = vars(found)[part]
        except (KeyError, TypeError):
            raise UnknownShapeError("no %s" % name) from None
    if type(found) is not type(find_function):
        raise UnknownShapeError("%s is a %s, not a function" % (name, type(found).__name__))
    return found


def answer_editables(function: "Any") -> None:
    """Patch the `find_spec` of a path entry finder that refuses library code to spare the mount.

    In a root, and in the folder of an editable package, our own finder answers every caller instead, without a walk of
    the stack. Our path hook comes before Databricks', so that is for a hook that was put straight into the cache of
    path entry finders, or was there first. The folder is that of the hook's own file finder, the only attribute of the
    hook that we need. Both published shapes of `WsfsImportHook` (in databricks-connect since 12.2) have it, under a
    mangled name.
    """
    parameters = function.__code__.co_varnames[:2]
    attribute = ""

    def find_spec(original: "Any", /, *args: "Any", **named: "Any") -> "ModuleSpec | None":
        nonlocal attribute
        try:
            hook, name = args if len(args) == 2 else (*args, *[named[key] for key in parameters[len(args) :]])[:2]
        except KeyError:  # a call that the hook itself refuses
            return original(*args, **named)  # type: ignore[no-any-return]
        try:
            finder = vars(hook).get(attribute)
            if not isinstance(finder, FileFinder):  # the first call, or the hook is of another class
                attribute, finder = find_file_finder(hook)
            folder = finder.path
            if offers(folder, is_top="." not in name):
                editables.serve([])
                try:
                    ours = editables.find_root(folder)
                except ImportError:  # not on a mount
                    ours = finder
                for entry in [entry for entry, each in list(sys.path_importer_cache.items()) if each is hook]:
                    sys.path_importer_cache[entry] = ours
                return ours.find_spec(name)
        except OSError:  # of the process: a failure of the mount is an absent folder
            raise
        except Exception as error:
            set_hook_state(function.__module__, "hook incompatible", explain(error))
        return original(*args, **named)  # type: ignore[no-any-return]

    divert(function, find_spec)


def offers(folder: str, *, is_top: bool) -> bool:
    """Return whether a folder is a root, or if a submodule is looked for, whether it belongs to an editable install."""
    return editables.normalize(folder) in editables.served if is_top else editables.is_editable(folder)


def find_file_finder(hook: object) -> "tuple[str, FileFinder]":
    """Return the file finder that a path entry finder keeps, and its attribute. Raises UnknownShapeError if none."""
    for name, value in vars(hook).items():
        if isinstance(value, FileFinder):
            return name, value
    raise UnknownShapeError("%s keeps no file finder" % type(hook).__name__)


def place_roots_after(function: "Any") -> None:
    """Patch a function that makes `sys.path`, so that all roots are on it afterwards."""

    def make_path(original: "Any", /, *args: object, **named: object) -> object:
        try:
            return original(*args, **named)
        finally:
            shim.run_guarded(editables.place_roots, editables.roots, editables.roots)

    divert(function, make_path)


def keep_roots(function: "Any") -> None:
    """Patch a function that drops entries of `sys.path`, so that the roots on it stay."""

    def change_path(original: "Any", /, *args: object, **named: object) -> object:
        before = list(sys.path)
        try:
            return original(*args, **named)
        finally:
            shim.run_guarded(restore_roots, before)

    divert(function, change_path)


def restore_roots(before: "list[Any]") -> None:
    """Put the roots that were on `sys.path`, in either spelling, where they belong again: after their layers.

    A layer that a root came from is restored too. It can be that of a base environment, which was added later.
    """
    known = [*map(editables.normalize, before)]
    for at, layer in enumerate(before):
        if isinstance(layer, str) and editables.installs.get(layer) and layer not in sys.path:
            above = [sys.path.index(entry) + 1 for entry in before[:at] if entry in sys.path]
            sys.path.insert(max(above, default=0), layer)
    editables.place_roots(editables.roots, [root for root in editables.roots if editables.normalize(root) in known])


def allow_roots(register: "Any") -> None:
    """Register the roots with autoreload's allow-list, once. The check also allows roots of later installs."""
    name = "deregister_autoreload_allowlist_check"
    deregister = register.__globals__.get(name)
    if not callable(deregister):
        raise UnknownShapeError("no %s" % name)
    # After a reload of the module, its list can still have the check.
    if is_editable_file not in register.__globals__.get("_AUTORELOAD_ALLOWLIST_CHECKS", ()):
        register(is_editable_file)
    registered[:] = [deregister]


def is_editable_file(file: object, *_more: object) -> bool:
    """Return whether a file belongs to an editable install. Raises nothing."""
    return isinstance(file, str) and editables.is_editable(file)


PATCHES: "dict[str, Callable[[Any], None]]" = {
    "answer_editables": answer_editables,
    "place_roots_after": place_roots_after,
    "keep_roots": keep_roots,
    "allow_roots": allow_roots,
}
"""The function for each kind of patch that the table of hooks names."""


def divert(function: "Any", around: "Callable[..., object]") -> None:
    """Patch a function."""
    turns.divert(function, around)
    patched.append(function)


def stop() -> None:
    """Remove every patch."""
    for function in patched:
        turns.restore(function)
    patched.clear()
    for deregister in registered:
        shim.run_guarded(deregister, is_editable_file)
    registered.clear()
