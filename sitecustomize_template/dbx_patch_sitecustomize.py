# This is the start-up shim of dbx-patch: it makes editable installs importable on Databricks.
# To remove it, run `python -m dbx_patch.uninstall`. To turn it off, set the environment variable DBX_PATCH_DISABLE=1.
#
# Import as little as possible, since every start of Python runs this file. It prints nothing, lets no exception out,
# and keeps to the syntax of Python 3.9, because we do not choose which Python starts it. A start pays for what is
# loaded, not for what is run, so six files beside this one are loaded only when they are needed:
# - `*_editables.py` when a layer has a `.pth` or `.start` file,
# - `*_standards.py` when the name of such a file does not show what it is, or it has an import line,
# - `*_turns.py` when an editable install has a finder,
# - `*_folders.py` when a root is searched, and `*_cache.py` when a module is found on a mount,
# - `*_hooks.py` when one of Databricks' import hooks is imported.
# A file knows those that are loaded before it, and no file calls a later one but by `load`.
# The same rules hold for them. Each rule has a measured cost, in instructions of a bare start:
# - `typing`, `importlib.util` and `__future__` each load at least one more file.
# - `threading` must not be imported before gevent (https://github.com/pypa/virtualenv/issues/1895).
# - A class costs 0.4 %, a function 0.05 %.
# - until 3.11 is dropped: `from x import y` first looks for `x.__path__`; where that is missing, it costs 0.03 %.
# - until 3.11 is dropped: `os` as a global costs 1.2 %. What is on `sys.meta_path` lives until the interpreter ends, so
#   our globals do too, and with them a large module that would otherwise be freed early. Each function imports `os` for
#   itself instead.

import _frozen_importlib_external as importlib_external
import _thread
import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    from dbx_patch.sitecustomize_template import Event, EventKind, Find

# --- stamp ---
VERSION = "0.2.0"
BUILD = ""
DIGEST = ""
# --- end of stamp ---

LIVE_NAME = "dbx_patch_sitecustomize"
"""The name of this module in `sys.modules`; `sitecustomize.py` loads it under that name."""
JOURNAL_LIMIT = 500
"""Events. The journal lives as long as the interpreter."""
NOT_INSTALLED = getattr(sys, "stdlib_module_names", ())  # until 3.9 is dropped: it has no such names
"""The names of the standard library, which no install replaces. A layer on a slow mount is not asked at their imports.
"""
MOUNTS = "/Workspace/", "/.fuse-mounts/", "/Volumes/", "/dbfs/"
"""Where Databricks mounts remote file systems, each call to which can be slow, fail or hang."""
SETTLED_AFTER = 100_000_000
"""Nanoseconds after which the next change of a folder has a different modification time."""
ASK_AGAIN_AFTER = 0.001
"""Seconds after which layers are asked again. Imports come in bursts, and asking five layers takes some 10 us."""

HOOKS = {
    "sys_path_init": ("patch_sys_path_with_developer_paths", "place_roots_after"),
    "dbruntime.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),  # the driver's, before DBR 18
    "dbruntime.workspace_import_machinery": ("_WorkspacePathEntryFinder.find_spec", "answer_editables"),  # since DBR 18
    "dbruntime.pythonPathHook": ("PythonPathHook._handle_sys_path_maybe_updated", "keep_roots"),
    "dbruntime.autoreload.file_module_utils": ("register_autoreload_allowlist_check", "allow_roots"),
    "pyspark.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),  # the executors'
    "pyspark.worker_util": ("setup_spark_files", "keep_roots"),
    # pyspark's copy of both, which the published code has named since 17.0
    "_engine_pyspark.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),
    "_engine_pyspark.worker_util": ("setup_spark_files", "keep_roots"),
}
"""Each hook that blocks editable installs: its module, the function in it, and what in `*_hooks` patches that function.

docs/hooks.md has the evidence for each row. A row can go when the oldest supported runtime no longer has the module.
"""

started = False
debug = False
"""Whether DBX_PATCH_DEBUG was set when the shim started."""
journal: "dict[Event, None]" = {}
"""What was decided and why, in order. A dict, because a layer that changes is read again and repeats its events."""
hook_states: "dict[str, str]" = {}
"""For each hook's module `armed`, `patched`, or `incompatible: ` and the reason."""


def log(kind: "EventKind", subject: str, text: str = "") -> None:
    """Add an event to the journal; with DBX_PATCH_DEBUG=1, print it to stderr as well."""
    event = kind, subject, text
    if event in journal:
        return
    if len(journal) < JOURNAL_LIMIT:
        journal[event] = None
    if debug:
        try:
            sys.stderr.write("dbx-patch: %s\n" % ": ".join(filter(None, event)))
        except (AttributeError, OSError, ValueError):  # stderr is None or closed
            pass


def is_switched_on(variable: bytes) -> bool:
    """Return whether an environment variable is set to anything but the empty string or 0.

    `posix.environ` is the dict that `os.environ` is built from, in bytes.
    """
    return posix.environ.get(variable, b"0") not in (b"", b"0")


# Layers


def honor_changes() -> None:  # noqa: C901, PLR0912 - each further function costs a start 0.05 %
    """Honor the editable installs of every layer that is new or has changed since it was last listed.

    This takes one `stat` a layer. A layer counts as listed when its installs have been honored, so what fails or is
    interrupted is done again at the next import. If another thread is honoring installs, wait for it, but not for long.
    """
    global ask_again_at, known_path, layers
    # Not `time.monotonic`, which freezegun and others replace.
    if time.clock_gettime(time.CLOCK_MONOTONIC) < ask_again_at and sys.path == known_path:
        return
    if loading._is_owned():  # type: ignore[attr-defined]  # an import line imports something
        return
    try:
        # Inside `try`, and released even if another thread has it: Ctrl-C can raise between any two calls.
        if not loading.acquire(blocking=False) and not load("turns").wait_for_others():
            return
        stuck.clear()
        ask_again_at = 0.0
        is_moved = sys.path != known_path
        if is_moved:
            path: list[object] = list(sys.path)
            found: dict[str, int | None] = {}
            for layer in path:
                if isinstance(layer, str) and "-packages" in layer and is_layer(layer):  # most entries need no call
                    if layer.startswith(MOUNTS):
                        load("folders").watch_layer(layer)
                    else:
                        found[layer] = layers.get(layer)
            layers = found  # at once: other threads read it
            known_path = path
        changed: dict[str, list[str]] = {}
        listed: dict[str, int | None] = {}
        for layer, before in layers.items():
            try:
                status = posix.stat(layer)
                now = status.st_mtime_ns
                if now != before:
                    # A second change within the clock's tick would leave the modification time as it is.
                    is_settled = abs(time.time_ns() - now) > SETTLED_AFTER
                    names = list_pth(layer, status.st_mtime if is_settled and is_starting() else -1.0)
                    listed[layer] = now if is_settled else None
                    if names and status.st_mode & 0o002:
                        log("layer refused", layer, "it is world-writable")
                        names = []
                    if names or "editables" in loaded:
                        changed[layer] = names
            except (OSError, ValueError):  # the folder is absent, or its name can't be a path
                listed[layer] = None
        if changed or (is_moved and "editables" in loaded):
            listed.update(load("editables").honor(changed))
        layers.update(listed)
        ask_again_at = time.clock_gettime(time.CLOCK_MONOTONIC) + ASK_AGAIN_AFTER
    finally:
        try:
            loading.release()
        except RuntimeError:  # another thread has it
            pass


def list_pth(layer: str, changed_at: float = -1.0) -> "list[str]":
    """Return the names of a layer's `.pth` files, in the order in which `site` reads them. Raises OSError.

    From Python 3.15 on, its `.start` files are among them (:pep:`829`).

    Python has listed most layers already, to look for a `sitecustomize`. Its finder's listing is used if that is of the
    time `changed_at`: another listing would cost a start 0.5 %. A layer has hundreds of other files, so the listing is
    searched as one string: testing each name costs as much again.
    """
    finder: Any = sys.path_importer_cache.get(layer)
    # -1 is the time of a finder that has listed nothing.
    is_listed = changed_at != -1.0 and getattr(finder, "_path_mtime", -1.0) == changed_at
    found: list[str] = []
    names = "/%s/" % "/".join(finder._path_cache if is_listed else posix.listdir(layer))
    for start in names.split(".pth/")[:-1]:
        name = start[start.rfind("/") + 1 :]
        if not name.startswith("zzz_dbx_patch"):  # one that loads this file
            found.append(name + ".pth")
    if sys.hexversion >= 0x30F0000:  # until 3.14 is dropped: there, `.start` files are unknown
        for start in names.split(".start/")[:-1]:
            found.append(start[start.rfind("/") + 1 :] + ".start")
    found.sort()
    return found


def is_layer(entry: object) -> bool:
    """Return whether an entry of `sys.path` is a layer, by its name. Entries need not be strings."""
    return isinstance(entry, str) and entry.rstrip("/").endswith(("/site-packages", "/dist-packages"))


# Parts, which are loaded when they are needed


def load(part: str) -> "Any":
    """Load a part once and return its module. Raises ImportError if it can't be loaded.

    It is run by `exec`, not imported: an import inside a finder can deadlock between the module's lock and importlib's
    global lock, and would ask Databricks' finders. No lock of ours is held either, because the thread that holds it may
    be waiting for this one. If two threads load the same part, both use the one that was finished first.
    """
    if part not in loaded:
        name, path = "%s_%s" % (LIVE_NAME, part), "%s_%s%s.py" % (str(__spec__.origin)[:-3], part, BUILD)
        try:
            reader: Any = importlib_external.SourceFileLoader
            code = reader(name, path).get_code(name)
            # Nothing of another version may run here. An installed part has its build in its name. The package's own
            # parts were replaced if this file was.
            ours = BUILD or VERSION in reader(LIVE_NAME, __spec__.origin).get_code(LIVE_NAME).co_consts
            if ours:
                hide_file(code)
                module: Any = type(sys)(name)
                module.__file__, module.shim = path, shim
                exec(code, vars(module))
        except Exception as error:
            log("part unusable", path, repr(error))
            raise ImportError("a part of dbx-patch can't be loaded") from error
        if not ours:
            log("part replaced", path, "this process runs version " + VERSION)
            raise ImportError("another version of dbx-patch was installed")
        loaded.setdefault(part, module)
    return loaded[part]


def hide_file(code: "CodeType") -> None:
    """Make our code objects name `<dbx-patch>` as their file.

    Databricks' hooks refuse an import when a stack frame's file is in site-packages. Our own frames would trigger that
    for every import that passes through our finders.
    """
    import _imp

    _imp._fix_co_filename(code, "<dbx-patch>")  # type: ignore[attr-defined]


# Finders


def find_watched(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Answer for watched names, and honor new installs: this is the first finder on `sys.meta_path`.

    New installs are looked for when a top-level name is imported that is not one of the standard library's. Any other
    import costs one look-up in a dict.
    """
    find = watched.get(fullname)
    if find is not None:
        return find(fullname, path, target)
    if path is None:
        if fullname not in NOT_INSTALLED:
            known = fullname in sys.modules  # a module that is being reloaded
            if known and fullname == __name__:
                return __spec__
            try:
                honor_changes()
                if not known and fullname in sys.modules:
                    return load("turns").find_imported(fullname)  # type: ignore[no-any-return]
            except Exception as error:
                log("import failed", fullname, repr(error))
        for find in turns:
            return find(fullname, path, target)
    return None


def find_late(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Look once more for a module that no finder has found: this is the last finder on `sys.meta_path`.

    Layers are asked at once here, whenever they were asked last.
    """
    global ask_again_at
    if path is None and fullname in NOT_INSTALLED:
        return None
    try:
        ask_again_at = 0.0
        honor_changes()
        if "editables" in loaded:
            return load("folders").find_late(fullname, path, target)  # type: ignore[no-any-return]
    except Exception as error:
        log("import failed", fullname, repr(error))
    return None


def find_hook(fullname: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
    """Find a hook's module as the other finders do, and patch it once it has run."""
    try:
        find: Find = load("hooks").find
    except Exception as error:
        hook_states[fullname] = "incompatible: %r" % error
        log("hook incompatible", fullname, repr(error))
        return None
    return find(fullname, path, target)


def forget_answers() -> None:
    """Drop cached answers: `importlib.invalidate_caches` calls this on every finder."""
    global ask_again_at
    ask_again_at = 0.0
    if "folders" in loaded:
        loaded["folders"].forget_answers()


shim = sys.modules.get(__name__)
loading = _thread.RLock()
stuck: "list[bool]" = []
"""Not empty after a thread has waited in vain for the one that honors installs."""
loaded: "dict[str, Any]" = {}
"""The parts that have been loaded, by name."""
known_path: "list[object]" = []
"""`sys.path` as it was when it was last searched for layers."""
turns: "list[Find]" = []
"""The function that asks the finders of editable installs in their turn, if there are any."""
ask_again_at = 0.0
"""When layers can be asked again, by the monotonic clock."""
layers: "dict[str, int | None]" = {}
"""Each layer, and its folder's modification time in nanoseconds when it was last listed."""
watched: "dict[str, Find | None]" = dict.fromkeys(HOOKS, find_hook)
"""The names that are answered by a function; by the other finders again if that is None."""
watcher: "Any" = find_watched
"""The first finder on `sys.meta_path`.

Finders are functions here: like the classes of Python's own finders, they can be hashed, referenced weakly and copied,
and have a `__module__`. A class would cost 0.4 % of a start.
"""
watcher.find_spec, watcher.invalidate_caches = find_watched, forget_answers
latecomer: "Any" = find_late
"""The last finder on `sys.meta_path`."""
latecomer.find_spec = find_late


def watch() -> None:
    """Watch for the hooks' modules, and patch those that have been imported already. Import none of them."""
    if watcher not in sys.meta_path:
        sys.meta_path.insert(0, watcher)
        sys.meta_path.append(latecomer)
    for name in HOOKS:
        if name in sys.modules:
            if hook_states.get(name) != "patched":
                load("hooks").patch(name, sys.modules[name])
        else:
            hook_states.setdefault(name, "armed")


def is_starting() -> bool:
    """Return whether the interpreter starts. An exception such as `SystemExit` that leaves `site` would end it."""
    return bool(getattr(getattr(sys.modules.get("site"), "__spec__", None), "_initializing", False))


def run_guarded(step: "Callable[..., Any]", *args: object) -> "Any":
    """Run a step whose failure must not prevent the next one, and return what it returns, or None if it fails.

    A process that has started can be interrupted.
    """
    try:
        return step(*args)
    except BaseException as error:
        if not (isinstance(error, Exception) or is_starting()):
            raise
        log("step failed", getattr(step, "__name__", ""), repr(error))


def start(code: "CodeType | None" = None) -> None:
    """Start the shim: raise nothing, print nothing.

    A second call does no harm, and honors what has been installed since. `code` is this file's code object.
    """
    global started, debug
    try:
        if is_switched_on(b"DBX_PATCH_DISABLE"):
            return
        debug = is_switched_on(b"DBX_PATCH_DEBUG")
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        if code is not None:
            run_guarded(hide_file, code)
        run_guarded(honor_changes)
        run_guarded(watch)
        started = True
        if debug:
            took = time.clock_gettime(time.CLOCK_MONOTONIC) - began
            log("shim started", str(__spec__.origin), "in %.1f ms" % (took * 1000))
    except BaseException as error:  # whatever is wrong here, Python starts
        if not (isinstance(error, Exception) or is_starting()):
            raise


def stop() -> None:
    """Undo everything in this process. `start` does it again."""
    global started, layers, known_path
    with loading:
        for part in ("hooks", "turns", "folders", "cache", "editables"):
            if part in loaded:
                loaded[part].stop()
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not watcher and finder is not latecomer]
        layers, known_path = {}, []
        hook_states.clear()
        started = False


if __name__ == LIVE_NAME:
    # This module is like a built-in one: it has a spec and no `__file__`, and a reload of it does nothing. The file may
    # be another version's by then, and IPython's autoreload empties a module that has a file before it reloads it:
    # imports that other threads make meanwhile would fail in our finders.
    __spec__ = type(sys.__spec__)(__name__, sys.__loader__, origin=__file__)  # type: ignore[arg-type]
    del __file__
    start(sys._getframe().f_code)
    # A thread that is not in a forked child can't release its locks there.
    posix.register_at_fork(after_in_child=loading._at_fork_reinit)  # type: ignore[attr-defined]
