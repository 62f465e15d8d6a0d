# This file is a part of dbx-patch's start-up shim: it runs the finders of editable installs, and gives each its turn.
# `dbx_patch_sitecustomize.py` loads it when an install has a finder, and is its `shim`. The rules at the top of that
# file hold here as well.
#
# A finder stays where it has put itself on `sys.meta_path`: setuptools' answers last, meson-python's first. Besides,
# for a top-level name, it is asked after its layer and before the next one. The shim's first finder does that.

import _frozen_importlib as importlib
import sys
from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import PathFinder, SourceFileLoader, spec_from_file_location
from _thread import get_ident
from time import CLOCK_MONOTONIC, clock_gettime, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import Editable, Find
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")
find_opened_layers: "Callable[[], set[str]]" = shim.load("standards").find_opened_layers

BEING_WRITTEN = 10_000_000_000
"""Nanoseconds in which a finder's module that has failed may still be being written."""
NEVER = float("inf")
AGAIN_AFTER = 1.0
"""Seconds after which a line that has failed is run again."""
HONORED_WITHIN = 1.0
"""Seconds that an import waits while another thread honors an install."""
OF_THE_PROCESS = (12, 23, 24)
"""ENOMEM, ENFILE and EMFILE: errors of the process or the machine, not of a mount."""
Namespace: "Any" = type(sys.implementation)  # `types.SimpleNamespace`, without importing `types`

honored: "list[Editable]" = []
"""The lines whose finders have their turns."""
turns: "list[tuple[str, Find, Any, Editable]]" = []
"""The layer of each finder, its `find_spec`, the finder itself, and the line that has installed it."""
ordered: "tuple[list[str] | None, list[tuple[str, Find, Any, Editable]]]" = (None, [])
"""A path, and the turns in its order: one value, because other threads read it."""
ran: "list[ModuleType]" = []
"""The modules of finders that `site` had not run."""
tried: "dict[tuple[str, str], tuple[int, float]]" = {}
"""Each import line that has failed or was interrupted, by its `.pth` file and itself: when the finder's module was
written, and from when on, by the monotonic clock, the line can be run again."""
diverted: "dict[Any, tuple[CodeType, CodeType]]" = {}
"""Each patched function, with its present code object and its original one."""


def monotonic() -> float:
    """Return the monotonic clock, in seconds. freezegun and others replace `time.monotonic`."""
    return clock_gettime(CLOCK_MONOTONIC)


# The lines of editable installs


def honor(lines: "list[Editable]") -> "dict[str, None]":
    """Run the import lines that are new or whose finder was written again, and retire the finders that are gone.

    Returns the layers that have to be listed again, because a line in them has failed.
    """
    again: dict[str, None] = {}
    known = [(editable["pth"], editable["line"]) for editable in lines]
    for old in [old for old in honored if (old["pth"], old["line"]) not in known and old["layer"] in sys.path]:
        retire(old)
    for editable in [editable for editable in lines if editable not in honored]:
        outcome = shim.run_guarded(run, editable)
        if outcome == "again":
            again[editable["layer"]] = None
        elif outcome == "done":
            for old in [old for old in honored if (old["pth"], old["line"]) == (editable["pth"], editable["line"])]:
                retire(old)
            honored.append(editable)
    return again


def run(editable: "Editable") -> str:
    """Run an import line, unless `site` has, and give what it installs its turn.

    Returns `done`, or if the line has failed, `again` or `failed`: whether the layer has to be listed again for it. An
    alarm may have raised, so in a process that has started, the line is run again once, after a second. It is also run
    again when its finder's module changes. The module may have been half-written, and to finish it does not change
    its layer.
    """
    key = editable["pth"], editable["line"]
    written, again_at = tried.get(key, (-1, 0.0))
    is_same = written == editable["written"]
    if not is_same or monotonic() >= again_at:
        tried[key] = editable["written"], 0.0  # if it is interrupted, it is run again at once
        if run_line(editable, is_same):
            del tried[key]
            return "done"
        once_more = not is_same and not shim.is_starting()
        tried[key] = editable["written"], monotonic() + AGAIN_AFTER if once_more else NEVER
    is_new = abs(time_ns() - editable["written"]) < BEING_WRITTEN
    return "again" if is_new or tried[key][1] != NEVER else "failed"


def run_line(editable: "Editable", is_same: bool) -> bool:  # noqa: FBT001
    """Run an import line as `site` would, had it opened the layer. Return whether it has not failed.

    In a process that has started, what is no `Exception` is raised: Ctrl-C, for example, or what an alarm raises. If
    the same line has failed before, only Ctrl-C is.
    """
    before = dict(sys.modules)
    try:
        run_unlocked(load_finder, editable)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt) or not (is_same or isinstance(error, Exception))
        if interrupted and not shim.is_starting():
            raise
        shim.log("import line failed", editable["pth"], "%s\n%s" % (editable["line"], format_error(error)))
        return False
    finally:
        for name, module in before.items():
            # Python does not start if the line removes `site` while that is being imported.
            if name not in sys.modules and getattr(getattr(module, "__spec__", None), "_initializing", False):
                sys.modules[name] = module
    return True


def load_finder(editable: "Editable") -> None:
    """Run a line with the module from its own layer, unless `site` has, and add the finders' turns.

    Raises what they raise.
    """
    name, file = editable["finder"], editable["file"]
    code: Any = None
    if file:
        code = SourceFileLoader(name, file).get_code(name)
        if not code.co_names:
            raise ImportError("%s is empty" % file)
        if "editables.redirector" in code.co_names:
            add_redirector(editable, read_map(code))
            return
    before = list(sys.meta_path)
    module: Any = sys.modules.get(name)
    # `site` has run the line, or we have and were interrupted, unless the finder was written again since. Two lines can
    # have one module.
    has_run = getattr(module, "__file__", "") == file if file else editable["layer"] in find_opened_layers()
    if not has_run or (file and file in [old["file"] for old in honored]):
        module = run_module(editable, code)
    for finder in list(sys.meta_path):
        if finder not in (shim.watcher, shim.latecomer) and (is_from(finder, module) or finder not in before):
            add_turn(editable, finder.find_spec, finder)
            observe(sys.modules.get(str(getattr(finder, "__module__", ""))))  # one of a package
    observe(module)
    keep_places()


def run_module(editable: "Editable", code: "Any") -> "ModuleType | None":
    """Run a finder's module and its line, and return the module. If they raise, undo what they did.

    A layer above can have a module of the same name. That one stays in `sys.modules`.
    """
    name, file = editable["finder"], editable["file"]
    line = compile(editable["line"], "<string>", "exec")  # `site` runs nothing of a line that is no Python
    before = list(sys.meta_path)
    first = sys.modules.get(name)
    module: Any = first
    try:
        if code and not any([(old["file"], old["written"]) == (file, editable["written"]) for old in honored]):
            folders = [file.rpartition("/")[0]] if file.endswith("/__init__.py") else None
            spec: Any = spec_from_file_location(name, file, submodule_search_locations=folders)
            module = sys.modules[name] = module_from_spec(spec)
            ran.append(module)
            exec(code, vars(module))
        exec(line, {})
    except BaseException:
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder in before]
        sys.modules.pop(name, None)
        if first is not None:
            sys.modules[name] = first
        raise
    if code and first is not None and getattr(first, "__file__", "") != file:
        sys.modules[name] = first
    return module or sys.modules.get(name)


def keep_places() -> None:
    """Keep our two finders first and last: an import line can put others there."""
    for finder in (shim.watcher, shim.latecomer):
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
            sys.meta_path.insert(0 if finder is shim.watcher else len(sys.meta_path), finder)


def is_from(finder: "Any", module: "ModuleType | None") -> bool:
    """Return whether a module's code, or that of a module in it, is what a finder runs to find a module."""
    name = getattr(finder, "find_spec", finder)
    known: Any = getattr(name, "__globals__", {})
    return module is not None and (
        known is vars(module) or str(known.get("__name__")).startswith(module.__name__ + ".")
    )


def read_map(code: "CodeType") -> "dict[str, str]":
    """Return the modules that a finder's module of the `editables` library maps, each with its file.

    hatchling and pdm-backend use that library. It has one finder for all layers, which would not know whose a name is.
    So its module is run with a finder that only notes what it is given; `editables` itself is not imported.
    """
    names: dict[str, str] = {}
    finder = Namespace(install=lambda: None, map_module=names.__setitem__)
    library = Namespace(RedirectingFinder=finder)
    exec(code, {"__builtins__": {"__import__": lambda *_: library}})
    return names


def add_redirector(editable: "Editable", names: "dict[str, str]") -> None:
    """Give the names that a module of the `editables` library maps their turn, with or without the library's finder."""

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        spec = spec_from_file_location(fullname, names[fullname]) if fullname in names else None
        remember(spec)
        return spec

    library: Any = sys.modules.get("editables.redirector")
    owner: Any = getattr(library, "RedirectingFinder", None)
    mapped: Any = getattr(owner, "_redirections", {})
    if owner not in sys.meta_path or not names.keys() <= mapped.keys():  # `site` has not run the line
        owner = Namespace(find_spec=find_spec)
        sys.meta_path.append(owner)
        keep_places()
    add_turn(editable, find_spec, owner)


def retire(editable: "Editable") -> None:
    """Take what a line has installed off `sys.meta_path`, because the line is gone or its finder was written again."""
    honored.remove(editable)
    for turn in [turn for turn in turns if turn[3] == editable]:
        turns.remove(turn)
        # The finder of the `editables` library serves other installs, too.
        if not is_from(turn[2], sys.modules.get("editables.redirector")):
            remove(turn[2])
    forget_order()


def remove(finder: "Any") -> None:
    """Take a finder off `sys.meta_path`, and what else in its module looks for modules."""
    known = getattr(getattr(finder, "find_spec", None), "__globals__", None)
    sys.meta_path[:] = [each for each in sys.meta_path if each is not finder]
    sys.path_hooks[:] = [
        hook for hook in sys.path_hooks if not known or getattr(hook, "__globals__", None) is not known
    ]
    for entry, each in list(sys.path_importer_cache.items()):
        if known and getattr(getattr(each, "find_spec", None), "__globals__", None) is known:
            sys.path_importer_cache.pop(entry, None)
    for module in [module for module in ran if vars(module) is known]:
        ran.remove(module)
        if sys.modules.get(module.__name__) is module:
            del sys.modules[module.__name__]


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
    acquired = zip(held, iter(_imp.acquire_lock, 0))
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


# Turns


def add_turn(editable: "Editable", find: "Find", owner: "Any") -> None:
    """Have a finder asked for top-level names after its layer and those above, and before those below."""
    if any([turn[2] is owner and turn[3] == editable for turn in turns]):  # as when this was interrupted
        return
    turns.append((editable["layer"], find, owner, editable))
    forget_order()
    if not shim.turns:
        shim.turns.append(find_in_turn)
    shim.log("finder honored", editable["pth"])


def find_in_turn(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Ask the finders of editable installs for a top-level name, each after its layer and before the next one.

    What a finder raises ends the import, unless a layer above has the module: another copy below may be an old one. An
    error of the mount is the cause of a ModuleNotFoundError then, which is what code that imports expects.
    """
    for layer, find, owner, _ in order_turns():
        if not any([finder is owner for finder in sys.meta_path]):
            continue
        try:
            spec = find(fullname, path, target)
        except Exception as error:
            shim.log("finder failed", repr(owner), "%s: %r" % (fullname, error))
            above = find_above(layer, fullname, target)
            if above is None:
                if fullname in shim.NOT_INSTALLED:  # nothing of ours may end an import of the standard library
                    continue
                if isinstance(error, OSError) and error.errno not in OF_THE_PROCESS:
                    raise ModuleNotFoundError("No module named %r" % fullname, name=fullname) from error
                raise
            return above
        if spec is not None:
            return find_above(layer, fullname, target) or spec
    return None


def order_turns() -> "list[tuple[str, Find, Any, Editable]]":
    """Return the turns of the layers on `sys.path`, in their order."""
    global ordered
    known, found = ordered
    path = list_path()
    if known != path:
        found = sorted([turn for turn in turns if turn[0] in path], key=lambda turn: path.index(turn[0]))
        ordered = path, found
    return found


def list_path() -> "list[str]":
    """Return `sys.path` without the entries that are no strings: Python skips those, and they can equal anything."""
    path: list[object] = list(sys.path)
    return [entry for entry in path if isinstance(entry, str)]


def forget_order() -> None:
    """Have the turns put in order again."""
    global ordered
    ordered = None, []


def find_above(layer: str, fullname: str, target: "ModuleType | None") -> "ModuleSpec | None":
    """Return the spec of a top-level module that comes before the turn of a layer's finder; None for a namespace.

    That is what another finder before the path finder answers, and what the layer and the entries above it have.
    """
    owners = [turn[2] for turn in turns]
    for finder in list(sys.meta_path):
        if finder is PathFinder:
            break
        if finder is not shim.watcher and not any([finder is owner for owner in owners]):
            ask: Any = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = ask(fullname, None, target) if ask else None
            if spec is not None:
                return spec
    path = list_path()
    spec = PathFinder.find_spec(fullname, path[: path.index(layer) + 1], target)
    return spec if spec is not None and spec.loader is not None else None


def find_imported(fullname: str) -> "ModuleSpec | None":
    """Return a spec for a module that an import line imported while this thread was about to import it.

    Without it, importlib would load the module a second time. Return None if only its spec is looked for, for example
    by `importlib.util.find_spec`: the caller gets the module's own spec. Only an import has the module's lock.
    """
    lock = importlib._module_locks.get(fullname, lambda: None)()  # type: ignore[attr-defined]
    if getattr(lock, "owner", None) != get_ident():
        return None
    module = sys.modules[fullname]
    own = module.__spec__

    def return_module(_spec: "ModuleSpec") -> "ModuleType":
        return module

    def restore_spec(_module: "ModuleType") -> None:
        module.__spec__ = own

    loader = Namespace(create_module=return_module, exec_module=restore_spec)
    module.__spec__ = spec = ModuleSpec(fullname, loader)
    return spec


# What a finder answers with


def observe(module: "ModuleType | None") -> None:
    """Note what the finders in a module answer with: Databricks' hooks and autoreload have to know it."""

    def find_spec(original: "Any", /, *args: object, **named: object) -> "ModuleSpec | None":
        spec: ModuleSpec | None = original(*args, **named)
        remember(spec)
        return spec

    for each in list(vars(module).values()) if module else ():
        function: Any = vars(each).get("find_spec") if isinstance(each, type) else None
        function = getattr(function, "__func__", function)
        # Not one that the module has imported, such as `PathFinder`.
        if type(function) is type(observe) and function.__globals__ is vars(module):
            divert(function, find_spec)


def remember(spec: "ModuleSpec | None") -> None:
    """Note where a module of an editable install is. If it is on a mount, treat it as one in a root."""
    if spec is None:
        return
    places = [*(spec.submodule_search_locations or ()), spec.origin if spec.has_location else ""]
    for place in filter(None, places):
        editables.found.add(editables.normalize(place))
    if spec.has_location and spec.origin:
        shim.run_guarded(shim.load("folders").use_cache, spec)


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


def restore(function: "Any") -> None:
    """Restore a function, also where other code has wrapped it: inside the wrapper."""
    ours, code = diverted.pop(function, (None, None))
    if code is not None and function.__code__ is ours:
        function.__code__ = code


def stop() -> None:
    """Undo what was done for finders: those that `site` installed stay where they are."""
    for _, _, owner, _ in turns:
        if type(owner) is Namespace or any([is_from(owner, module) for module in ran]):
            remove(owner)
    for function in list(diverted):
        restore(function)
    for known in (turns, honored, ran, tried, shim.turns):
        known.clear()
    forget_order()
