# This file is a part of dbx-patch's start-up shim: it has the finders of editable installs asked in the order of their
# layers, and absent roots asked again. `dbx_patch_sitecustomize.py` loads it when an install has a finder, or is made
# while the process runs, or when an import is about to fail, and is its `shim`. The rules at the top of that file hold
# here as well.

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import FileFinder, PathFinder
from time import monotonic, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

    from _typeshed.importlib import MetaPathFinderProtocol
    from dbx_patch.sitecustomize_template import Editable
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables

# --- stamp ---
VERSION = "0.1.0"
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")

BEING_WRITTEN = 10_000_000_000
"""Nanoseconds in which a finder's module that has failed may still be being written."""
NEVER = float("inf")
HONORED_WITHIN = 1.0
"""Seconds that an import waits while another thread honors an install."""
MODULE_NAMES = {
    "__name__",
    "__doc__",
    "__package__",
    "__loader__",
    "__spec__",
    "__file__",
    "__cached__",
    "__builtins__",
}
"""What a module has that no line of its file has made."""

ran: "list[str]" = []
"""The modules of finders that `site` had not run."""
finders: "list[MetaPathFinderProtocol]" = []
"""The finders of editable installs. Each answers after its layer."""
added_finders: "list[object]" = []
"""What is on `sys.meta_path` because of them, and was not put there by `site`."""
mapped: "dict[str, str]" = {}
"""What they answered: a module's or package's name, and its file or folder, normalized; empty if none has it."""
tried: "dict[tuple[str, str], tuple[int, float]]" = {}
"""Each import line that has failed or was interrupted, by its layer and finder: when the finder's module was written,
and from when on, by the monotonic clock, the line can be run again."""
asked_again: "list[float]" = []
"""When the absent roots were last asked again, by the monotonic clock."""


# Installs that are made while the process runs


def find_new(new: "list[Editable]") -> "list[Editable]":
    """Return the lines that are new. Leave out projects that were installed again from another folder.

    For those, this process keeps what it has: it may have imported modules of the old folder, and modules of the new
    one would not fit them.
    """
    known, now = list_states(editables.honored), list_states(new)
    found: list[Editable] = []
    for editable in new:
        project, state = identify(editable)
        kept = known.get(project, {})
        if not kept.keys() <= now[project].keys():
            text = "it was installed again from another folder; this process keeps " + ", ".join(kept)
            shim.log("install kept", project[1], text)
        elif state not in kept:
            found.append(editable)
    return found


def list_states(installs: "list[Editable]") -> "dict[tuple[str, str], dict[str, None]]":
    """Return the states of each project, in their order."""
    states: dict[tuple[str, str], dict[str, None]] = {}
    for editable in installs:
        project, state = identify(editable)
        states.setdefault(project, {})[state] = None
    return states


def identify(editable: "Editable") -> "tuple[tuple[str, str], str]":
    """Return the layer and project of an editable install, whatever its version, and its state.

    A state is a root, or a finder's module and when it was written.
    """
    name, state = editable["pth"].rpartition("/")[2][:-4], editable["root"]
    if name == "easy-install":  # one file for several projects
        name = state
    elif name.startswith("__editable__."):
        name = name[13:].rpartition("-")[0]
    if editable["finder"]:
        state = "%s/%s.py of %d" % (editable["layer"], editable["finder"], editable["written"])
    return (editable["layer"], name), state


# Finders of editable installs


def honor(editable: "Editable") -> str:
    """Run an import line, unless `site` has, and have its finder asked in the order of the layers.

    Returns `done`, or if the line has failed, `again` or `failed`: whether the layer has to be listed again for it. An
    alarm may have raised, so in a process that has started, the line is run again once, after a second. It is also run
    again when its finder's module changes. The module may have been half-written, and to finish it does not change
    its layer.
    """
    module = editable["finder"]
    key = editable["layer"], module
    written, again_at = tried.get(key, (0, 0.0))
    runs = key in tried or module not in sys.modules
    if runs:
        is_same = written == editable["written"]
        written = editable["written"]
        if not is_same or monotonic() >= again_at:
            if key in tried:
                sys.modules.pop(module, None)
                sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__module__", "") != module]
            tried[key] = written, 0.0  # if it is interrupted, it is run again at once
            if run_line(editable, is_same):
                del tried[key]
            else:
                once_more = not is_same and not shim.is_starting()
                tried[key] = written, monotonic() + editables.ASK_AGAIN_AFTER if once_more else NEVER
        if key in tried:
            is_new = abs(time_ns() - written) < BEING_WRITTEN
            return "again" if is_new or tried[key][1] != NEVER else "failed"
    for finder in list(sys.meta_path):
        # hatchling and pdm-backend use the finder of the `editables` library; the others have a class of their own.
        if getattr(finder, "__module__", "") in (module, "editables.redirector") and finder not in finders:
            ordered = answer_after_layer(finder, editable["layer"])
            added_finders.extend([ordered, finder] if runs else [ordered])
            place_finder(finder, ordered)
            finders.append(finder)
            shim.log("finder honored", editable["pth"])
    return "done"


def run_line(editable: "Editable", is_same: bool) -> bool:  # noqa: FBT001
    """Run an import line as `site` would, had it opened the layer. Return whether it has not failed.

    In a process that has started, what is no `Exception` is raised: Ctrl-C, for example, or what an alarm raises. If
    the same line has failed before, only Ctrl-C is.
    """
    if editable["finder"] not in ran:
        ran.append(editable["finder"])
    before = dict(sys.modules)
    try:
        run_unlocked(exec, editable["line"], {})
        text = "" if vars(sys.modules[editable["finder"]]).keys() - MODULE_NAMES else "its module is empty"
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt) or not (is_same or isinstance(error, Exception))
        if interrupted and not shim.is_starting():
            raise
        text = format_error(error)
    finally:
        for name, module in before.items():
            # Python does not start if the line removes `site` while that is being imported.
            if name not in sys.modules and getattr(getattr(module, "__spec__", None), "_initializing", False):
                sys.modules[name] = module
    if text:
        shim.log("import line failed", editable["pth"], "%s\n%s" % (editable["line"], text))
    return not text


def format_error(error: BaseException) -> str:
    """Return an error's traceback, or its type if its own code fails meanwhile."""
    try:
        from traceback import format_exception

        return "".join(format_exception(type(error), error, error.__traceback__))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return type(error).__name__


def run_unlocked(function: "Callable[..., Any]", *args: object, **named: object) -> "Any":
    """Call a function without the lock that importlib holds while it asks finders.

    The function may need a module that another thread is importing, and that thread needs the lock to go on. The lock
    is released and acquired by one call each into C, so Ctrl-C can't raise in between.
    """
    import _imp

    held: list[None] = []
    acquired = zip(held, iter(_imp.acquire_lock, 0))  # noqa: B905 - `strict` is new in 3.10
    try:
        try:
            held.extend(iter(_imp.release_lock, 0))
        except RuntimeError:  # this thread does not hold it, or no longer
            pass
        return function(*args, **named)
    finally:
        list(acquired)


def wait_for_others() -> bool:
    """Wait until no other thread honors installs, and return whether this one can.

    That thread may be waiting for a module that this one is importing. So wait only once for it, and not for long.
    """
    if not shim.stuck and run_unlocked(shim.loading.acquire, timeout=HONORED_WITHIN):
        return True
    shim.stuck.append(True)
    return False


def place_finder(finder: "MetaPathFinderProtocol", ordered: "MetaPathFinderProtocol") -> None:
    """Insert `ordered` directly before the path finder. If the finder itself is before that, move it to the end.

    meson-python and scikit-build-core put their finders first, where they would win over every layer.
    """
    at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, ordered)
    if sys.meta_path.index(finder) < at:
        sys.meta_path.remove(finder)
        sys.meta_path.append(finder)


def answer_after_layer(finder: "MetaPathFinderProtocol", layer: str) -> "MetaPathFinderProtocol":
    """Return a finder that has another one answer after its layer and those above, and before those below."""

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        try:
            spec = finder.find_spec(fullname, path, target)
        except Exception as error:  # the finder is also where it put itself, and raises there as without us
            shim.log("finder failed", repr(finder), "%s: %r" % (fullname, error))
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
                return None  # the package is one from above, which has no such module
        mapped[fullname] = place_of(spec)
        return spec

    ordered: Any = find_spec
    ordered.find_spec = find_spec
    return ordered  # type: ignore[no-any-return]  # a function with attributes


def find_above(path: "Sequence[str]", above: "list[str]", own: str) -> "list[str]":
    """Return the entries of a package's path that are in a path entry above, except the editable package's own."""
    tops = tuple([top.rstrip("/") + "/" for top in above if top.startswith("/")])
    return [entry for entry in path if entry.startswith(tops) and editables.normalize(entry) != own]


def place_of(spec: "ModuleSpec") -> str:
    """Return the folder of a package, or the file of a module, normalized."""
    return editables.normalize((spec.submodule_search_locations or [spec.origin or ""])[0])


def find_imported(fullname: str) -> "ModuleSpec":
    """Return a spec for a module that an import line imported while it was being looked for.

    Without it, importlib would load the module a second time.
    """
    module = sys.modules[fullname]
    own = module.__spec__

    def return_module(_spec: "ModuleSpec") -> "ModuleType":
        return module

    def restore_spec(_module: "ModuleType") -> None:
        module.__spec__ = own

    namespace: Any = type(sys.implementation)  # `types.SimpleNamespace`, without importing `types`
    loader = namespace(create_module=return_module, exec_module=restore_spec)
    module.__spec__ = spec = ModuleSpec(fullname, loader)
    return spec


def locate(name: str) -> str:
    """Return where the finders have a module or package, asked once; empty if none has it."""
    if name not in mapped:
        mapped[name] = ""
        for finder in finders:
            try:
                spec = finder.find_spec(name, None, None)
            except Exception as error:
                shim.log("finder failed", repr(finder), "%s: %r" % (name, error))
                continue
            if spec is not None:
                mapped[name] = place_of(spec)
                break
    return mapped[name]


# Roots


def find_usercustomize(fullname: str, path: object, target: object) -> "ModuleSpec":
    """Answer the last import that `site` makes, without searching the roots that we added: nothing touches those."""
    shim.watch_for(fullname, None)
    spec = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry not in editables.added_roots])
    if spec is None:
        raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
    return spec


class RootFinder(FileFinder):
    """Finds modules in a root, and treats an error of the mount as an absent folder: it would end every import."""

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        try:
            return super().find_spec(fullname, target)
        except OSError as error:
            shim.log("root unavailable", self.path, repr(error))
            if sys.path_importer_cache.get(self.path) is self:
                sys.path_importer_cache[self.path] = None
            return None


def guard(finder: FileFinder) -> None:
    """Make Python's own file finder of a root a `RootFinder`. Other code may have put another finder there."""
    if type(finder) is FileFinder:
        finder.__class__ = RootFinder


def find_latecomer(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Ask absent roots again when an import is about to fail.

    Python remembers an absent folder in `sys.path_importer_cache` for as long as the process runs.
    """
    if path is not None:
        return None
    cache = sys.path_importer_cache
    absent = [root for root in editables.roots if cache.get(root, cache) is None and root in sys.path]
    if not absent:
        return None
    import os

    if asked_again and monotonic() < asked_again[0] + editables.ASK_AGAIN_AFTER:
        return None
    asked_again[:] = [monotonic()]
    present = list(filter(os.path.isdir, absent))  # one call each; Python's path hooks would make four or more
    for root in present:
        shim.log("root available", root)
        cache.pop(root, None)
    return PathFinder.find_spec(fullname, present)


def forget_answers() -> None:
    """Drop cached answers."""
    mapped.clear()
    asked_again.clear()


def stop() -> None:
    """Undo what was done for finders."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not any(finder is added for added in added_finders)]
    for name in ran:
        sys.modules.pop(name, None)
    for known in (ran, finders, added_finders, tried):
        known.clear()
    forget_answers()
