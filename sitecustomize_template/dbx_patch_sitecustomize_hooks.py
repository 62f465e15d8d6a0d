# This file is a part of dbx-patch's start-up shim: it patches Databricks' import hooks. `dbx_patch_sitecustomize.py`,
# which is `shim` here, loads it when the first hook is imported, and with DBX_PATCH_DEBUG=1 at each start. The rules at
# the top of that file hold here as well.

import _thread
import posix
import sys
import time
from _frozen_importlib_external import FileFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import EventKind
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

loaded_at = time.monotonic()
if not TYPE_CHECKING:
    editables = shim.load("editables")

PYTHONS = {"pkgutil": ("extend_path", "spare_mounts")}
"""What of Python's own is patched as hooks are, once a folder on a mount is searched."""
packages: "set[tuple[str, str]]" = set()
"""The folders of editable packages that a hook has been asked for, each with the package's name.

No hook is stored: new ones are made whenever `sys.path_importer_cache` is cleared, and would never be freed."""
diverted: "dict[Any, tuple[CodeType, CodeType]]" = {}
"""Each patched function, with its present code object and its original one."""
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
    name, how = shim.HOOKS.get(fullname) or PYTHONS[fullname]
    try:
        with patching:
            globals()[how](find_function(module, name))
        set_hook_state(fullname, "hook patched")
    except Exception as error:
        set_hook_state(fullname, "hook incompatible", explain(error))


def set_hook_state(module: str, kind: "EventKind", reason: str = "") -> None:
    """Log `hook patched` or `hook incompatible`, and make the second word of it the hook's state."""
    if module in shim.HOOKS:
        shim.hook_states[module] = kind[5:] + (": " + reason if reason else "")
    if module in shim.HOOKS or reason:
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

    In a root, and in the folder of an editable package, the hook's own file finder answers every caller, without a walk
    of the stack. It becomes a `MountFinder` there, which spares the mount as well. That file finder is the only
    attribute of the hook that we need. Both published shapes of `WsfsImportHook` (in databricks-connect since 12.2)
    have it, under a mangled name.
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
            folder, package = finder.path, name.rpartition(".")[0]
            if (folder, package) in packages or offers(folder, package):
                packages.add((folder, package))
                guard(finder)
                return finder.find_spec(name)
        except OSError:  # of the process: a failure of the mount is an absent folder
            raise
        except Exception as error:
            set_hook_state(function.__module__, "hook incompatible", explain(error))
        return original(*args, **named)  # type: ignore[no-any-return]

    divert(function, find_spec)


def spare_mounts(function: "Any") -> None:
    """Patch `pkgutil.extend_path`, so that it leaves out the roots on a mount that do not have the package.

    It asks each folder on `sys.path` for a file `NAME.pkg`, whatever the folder's finder answers. A notebook's kernel
    calls it at each start: debugpy extends the path of its `pydevd_plugins`.
    """

    def extend_path(original: "Any", /, *args: "Any", **named: "Any") -> object:
        try:
            name = named["name"] if "name" in named else args[1]
            is_spared: Any = shim.load("mounts").is_root_without
            kept = [entry for entry in sys.path if not is_spared(entry, name)]
        except Exception:  # a call that the function itself refuses
            kept = sys.path
        if len(kept) < len(sys.path):
            known = {**original.__globals__, "sys": type(sys.implementation)(**{**vars(sys), "path": kept})}
            original = type(original)(original.__code__, known, original.__name__, original.__defaults__)
        return original(*args, **named)

    divert(function, extend_path)


def find_file_finder(hook: object) -> "tuple[str, FileFinder]":
    """Return the file finder that a path entry finder keeps, and its attribute. Raises UnknownShapeError if none."""
    for name, value in vars(hook).items():
        if isinstance(value, FileFinder):
            return name, value
    raise UnknownShapeError("%s keeps no file finder" % type(hook).__name__)


def place_roots_after(function: "Any") -> None:
    """Patch a function that makes `sys.path`, so that the roots are on it afterwards."""

    def make_path(original: "Any", /, *args: object, **named: object) -> object:
        try:
            return original(*args, **named)
        finally:
            shim.run_guarded(editables.place_roots, editables.roots)

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
    """Restore each root that was on `sys.path`, after the entry that preceded it. Leave it if it is earlier now."""
    for at, root in enumerate(before):
        if not isinstance(root, str) or editables.normalize(root) not in editables.served:
            continue
        place = next((sys.path.index(above) + 1 for above in reversed(before[:at]) if above in sys.path), 0)
        found = [index for index, entry in enumerate(sys.path) if is_same(entry, root)]
        stays = bool(found) and found[0] <= place
        for index in reversed(found[stays:]):
            del sys.path[index]
        if not stays:
            sys.path.insert(place, root)


def is_same(entry: object, root: str) -> bool:
    """Return whether a path entry is a root, in either spelling."""
    return isinstance(entry, str) and editables.normalize(entry) == editables.normalize(root)


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
    """Return whether a file is in a root or in a path that a finder maps, by whole path components. Raises nothing."""
    folder = editables.normalize(file) if isinstance(file, str) else ""
    finders = shim.loaded.get("finders")
    while folder:
        if folder in editables.served or (finders and finders.has_place(folder)):
            return True
        folder = folder.rpartition("/")[0]
    return False


# Folders of editable installs


def offers(folder: str, package: str) -> bool:
    """Return whether a folder is a root, if a top-level name is looked for, or else that of an editable package."""
    spelled = editables.normalize(folder)
    return is_package(spelled, package) if package else spelled in editables.served


def guard(finder: FileFinder) -> None:
    """Have a hook's file finder spare the mount. What a hook searches is on one."""
    if type(finder) is FileFinder:
        shim.load("mounts").convert(finder)


def is_package(folder: str, name: str) -> bool:
    """Return whether a folder is that of an editable install's package."""
    below = "/" + name.replace(".", "/")
    if folder.endswith(below) and folder[: -len(below)] in editables.served:
        return True
    below, finders = "", shim.loaded.get("finders")
    while name and finders:
        places = finders.locate(name)
        if places:
            return any([folder == place + below for place in places])
        name, _, last = name.rpartition(".")
        below = "/" + last + below
    return False


# How a function is patched, and restored


def divert(function: "Any", around: "Callable[..., object]") -> None:
    """Make a function call `around`, with the original as the first argument. Do nothing if it is patched already.

    The function's code object is replaced, not the attribute that holds the function. So the patch also reaches code
    that already has the function, through `from x import y` or as a callback, and when the patch is removed, another
    package's wrapper calls the original code again.
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
        co_freevars=code.co_freevars,  # Python requires as many as the function has cells
        co_name=code.co_name,
    )
    diverted[function] = function.__code__, code


def call_around(*args: object, **named: object) -> object:
    """Provide the code of a patched function. `divert` fills in the two constants."""
    around: Any = "dbx_patch_around"
    original: Any = "dbx_patch_original"
    return around(original, *args, **named)


def stop() -> None:
    """Remove every patch. Functions that other code has wrapped are restored too, inside the wrapper."""
    for function, (ours, code) in diverted.items():
        if function.__code__ is ours:
            function.__code__ = code
    diverted.clear()
    for deregister in registered:
        shim.run_guarded(deregister, is_editable_file)
    registered.clear()
    forget_answers()


def forget_answers() -> None:
    """Drop the folders of packages."""
    packages.clear()


# A start with DBX_PATCH_DEBUG=1


def report_start() -> None:
    """Take the last step of the start, `watch`, and report how long the steps took. Those after it are as before."""
    shim.watch = watch
    try:
        watch()
    finally:
        took = (time.monotonic() - loaded_at) * 1000
        shim.log("shim started", str(shim.__spec__.origin), "in %.1f ms" % took)


watch = shim.watch
if shim.debug and not shim.started:
    shim.watch = report_start
