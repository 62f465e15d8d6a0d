# This is the start-up shim of dbx-patch: it makes editable installs importable on Databricks.
# `python -m dbx_patch.uninstall` removes it. The environment variable DBX_PATCH_DISABLE=1 turns it off.
#
# Every start of Python runs this file: it imports only what `site` has loaded by then, prints nothing, lets no
# exception out, and keeps to the syntax of Python 3.9, for we do not choose who starts it. A start pays for what is
# loaded, not for what is run. So three files beside this one are loaded when there is something for them to do:
# `*_editables` where a layer has a `.pth` file, `*_finders` where an install has a finder or an import is about to
# fail, `*_hooks` when a hook of Databricks' is imported. The same rules hold for them. What they avoid, they avoid for
# cause, counted in instructions of a bare start:
# - `typing`, `importlib.util` and `__future__` cost a file or more each; `threading` must not come before gevent
#   (virtualenv #1895).
# - A class costs 0.4 %, a function 0.05 %; annotations are a twentieth of all that we cost, so types are in comments
#   (PEP 484), and what those name is imported where mypy looks and the compiler does not.
# - `from x import y` looks for `x.__path__` first, and its absence costs 0.03 % before 3.12.
# - `os` as a global costs 1.2 % on 3.10 and 3.11: what stands on `sys.meta_path` lives until the very end there, and
#   with it our globals, and so a large module that would otherwise be gone. Each function imports it for itself.

import _frozen_importlib_external as importlib_external
import _thread
import posix
import sys
import time

if False:
    from dbx_patch.sitecustomize_template._types import *

# --- stamp ---
VERSION = "0.1.0"
INSTALLED_AS = ""
GENERATED_FOR = ""
DIGEST = ""
# --- end of stamp ---

LIVE_NAME = "dbx_patch_sitecustomize"
"""The name under which a `sitecustomize` loads this file, and under which it stands in `sys.modules`."""
JOURNAL_LIMIT = 500
"""Lines; the journal lives as long as the interpreter."""
HONORED_WITHIN = 1.0
"""Seconds that an import waits for another thread to honor an install."""
SETTLED_AFTER = 100_000_000
"""Nanoseconds after which a folder's next change will have another time."""

HOOKS = {
    "sys_path_init": ("patch_sys_path_with_developer_paths", "place_roots_after"),
    "dbruntime.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),  # the driver's, before DBR 18
    "dbruntime.workspace_import_machinery": ("_WorkspacePathEntryFinder.find_spec", "answer_editables"),  # since then
    "dbruntime.pythonPathHook": ("PythonPathHook._handle_sys_path_maybe_updated", "keep_roots"),
    "dbruntime.autoreload.file_module_utils": ("register_autoreload_allowlist_check", "allow_roots"),
    "pyspark.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),  # the executors'
    "pyspark.worker_util": ("setup_spark_files", "keep_roots"),
    "_engine_pyspark.wsfs_import_hook": ("WsfsImportHook.find_spec", "answer_editables"),  # pyspark's copy, since 17
    "_engine_pyspark.worker_util": ("setup_spark_files", "keep_roots"),
}
"""The module of each hook that blocks: what in it is patched, and the function in `*_hooks` that does it."""

started = False
debug = False
"""Whether DBX_PATCH_DEBUG was set when it was started."""
journal = []  # type: list[str]
said = set()  # type: set[str]
hook_states = {}  # type: dict[str, str]
"""For each hook's module `armed`, `patched`, or `incompatible` and why."""


def say(line):
    # type: (str) -> None
    """Write one decision to the journal, and to stderr as well where DBX_PATCH_DEBUG=1 asks for it."""
    if line in said:  # a layer that has changed is read again
        return
    if len(journal) < JOURNAL_LIMIT:
        said.add(line)
        journal.append(line)
    if debug:
        try:
            sys.stderr.write("dbx-patch: %s\n" % line)
        except (AttributeError, OSError, ValueError):  # closed, or None
            pass


def switched_on(variable):
    # type: (bytes) -> bool
    """Tell whether an environment variable is set to anything but nothing or 0; `os.environ` is a view of these."""
    return posix.environ.get(variable, b"0") not in (b"", b"0")


# Layers


def honor_changes():
    # type: () -> None
    """Honor the editable installs of every layer that has changed, or that nobody has looked at yet.

    That takes one `stat` for each layer. A thread that is at it already is waited for, but only once and not for long:
    it may itself wait for a module that this one is in the middle of importing.
    """
    if not loading.acquire(timeout=0 if stuck else HONORED_WITHIN):
        stuck.append(True)
        return
    try:
        if sys.path != known_path:
            known_path[:] = sys.path
            known = dict(layers)
            layers.clear()
            for layer in filter(is_layer, sys.path):
                layers[layer] = known.get(layer)
        changed = {}  # type: dict[str, list[str]]
        for layer, listed in list(layers.items()):
            try:
                status = posix.stat(layer)
                now = status.st_mtime_ns
                if now != listed:
                    # A change within the clock's tick would not be seen by the time alone.
                    layers[layer] = now if abs(time.time_ns() - now) > SETTLED_AFTER else None
                    names = list_pth(layer)
                    if names and status.st_mode & 0o002:
                        say("layer %s refused: everybody may write to it" % layer)
                    elif names:
                        changed[layer] = names
            except (OSError, ValueError):  # it is not there, or no longer, or its name can't be one
                layers[layer] = None
        if changed:
            load("editables").honor(changed)
    finally:
        stuck.clear()
        loading.release()


def list_pth(layer):
    # type: (str) -> list[str]
    """List the names of a layer's `.pth` files, as Python reads them. Raises OSError if that can't be done.

    A layer has hundreds of others. So they are searched as one string of bytes: to decode each name costs a third of
    listing it, and to look at each costs as much again.
    """
    import os

    names = (b"/%s/" % b"/".join(posix.listdir(os.fsencode(layer)))).split(b".pth/")[:-1]
    found = []  # type: list[str]
    for name in names:
        found.append(os.fsdecode(name[name.rfind(b"/") + 1 :]) + ".pth")
    found.sort()
    return found


def is_layer(entry):
    # type: (object) -> bool
    """Tell a layer by its name; what others put on `sys.path` need not be a string."""
    return isinstance(entry, str) and entry.rstrip("/").endswith(("/site-packages", "/dist-packages"))


# What is loaded when it is needed


def load(part):
    # type: (str) -> Any
    """Load one of the files beside this one, once. Raises whatever keeps it from being loaded.

    No lock is held: a thread that loads may be waited for by the one that has it. Where two load the same file at the
    same time, the first to be done has loaded it.
    """
    if part not in loaded:
        name, path = "%s_%s" % (LIVE_NAME, part), "%s_%s.py" % (__file__[:-3], part)
        code = globals().get("embedded", {}).get(part)  # type: Any  # where all is one file
        if code is None:
            code = importlib_external.SourceFileLoader(name, path).get_code(name)
        leave_layer(code)
        module = type(sys)(name)  # type: Any
        module.__file__, module.shim = path, shim
        exec(code, vars(module))
        if module.VERSION not in ("", VERSION):
            raise ImportError("%s is of version %s now, and this process runs %s" % (path, module.VERSION, VERSION))
        loaded.setdefault(part, module)
    return loaded[part]


def defer(part, name):
    # type: (str, str) -> Callable[..., Any]
    """Stand for a function of one of these files, which is loaded when that is called for the first time."""

    def call(*args):
        # type: (*object) -> Any
        return getattr(load(part), name)(*args)

    return call


def leave_layer(code):
    # type: (CodeType) -> None
    """Have our code say that it comes from no layer, whose files Databricks' hooks look for on the call stack.

    They refuse what they take for a library's import: with our frames there, every import that we pass on.
    """
    import _imp

    _imp._fix_co_filename(code, "<dbx-patch>")  # type: ignore[attr-defined]


# Finders


def find_watched(fullname, path=None, target=None):
    # type: (str, Sequence[str] | None, ModuleType | None) -> ModuleSpec | None
    """Watch for a few names, before all other finders, and for new installs where a top-level name is imported.

    For every other import that is one look-up in a dict.
    """
    find = watched.get(fullname)
    if find is not None:
        return find(fullname, path, target)
    if path is None:
        known = fullname in sys.modules  # it is reloaded
        try:
            honor_changes()
            if not known and fullname in sys.modules:
                return load("finders").find_imported(fullname)  # type: ignore[no-any-return]
        except Exception as error:
            say("%s: %r" % (fullname, error))
    return None


def find_hook(fullname, path, target):
    # type: (str, Sequence[str] | None, ModuleType | None) -> ModuleSpec | None
    """Find a hook's module as the finders behind us do, and have it patched once it has run."""
    try:
        find = load("hooks").find  # type: Find
    except Exception as error:
        hook_states[fullname] = "incompatible: %r" % error
        say("%s: %r" % (fullname, error))
        return None
    return find(fullname, path, target)


def forget_answers():
    # type: () -> None
    """Forget what was answered, as `importlib.invalidate_caches` asks every finder to."""
    for part in ("finders", "hooks"):
        if part in loaded:
            loaded[part].forget_answers()


shim = sys.modules.get(__name__)
loading = _thread.RLock()
stuck = []  # type: list[bool]
"""Not empty if the thread that honors installs has been waited for in vain."""
loaded = {}  # type: dict[str, Any]
"""The files beside this one that have been loaded, by the end of their names."""
known_path = []  # type: list[str]
"""`sys.path` as it was when layers were last looked for on it."""
layers = {}  # type: dict[str, int | None]
"""Each layer, and its folder's modification time when it was last listed, in nanoseconds."""
watched = dict.fromkeys(HOOKS, find_hook)  # type: dict[str, Find]
Finder = type(sys.implementation)  # type: Any  # `types.SimpleNamespace`; nobody has imported `types` yet
watcher = Finder(find_spec=find_watched, invalidate_caches=forget_answers)  # type: MetaPathFinderProtocol


def watch():
    # type: () -> None
    """Wait for the hooks' modules, and patch those that have been imported; import none of them."""
    if watcher not in sys.meta_path:
        sys.meta_path.insert(0, watcher)
    for name in HOOKS:
        if name in sys.modules:
            if hook_states.get(name) != "patched":
                load("hooks").patch(name, sys.modules[name])
        else:
            hook_states.setdefault(name, "armed")


def attempt(step, *args):
    # type: (Callable[..., object], *object) -> None
    """Take a step that must not keep what comes after it from being done."""
    try:
        step(*args)
    except BaseException as error:
        say("%r: %r" % (step, error))


def start(code=None):
    # type: (CodeType | None) -> None
    """Do all of it: nothing raised, nothing printed, and no step kept from running by the one before.

    To be called again does no harm, and honors what has been installed since. `code` is this file's.
    """
    global started, debug
    try:
        if switched_on(b"DBX_PATCH_DISABLE"):
            return
        debug = switched_on(b"DBX_PATCH_DEBUG")
        if code is not None:
            attempt(leave_layer, code)
        attempt(honor_changes)
        attempt(watch)
        started = True
    except BaseException:  # Python starts, whatever is the matter here
        pass


def stop():
    # type: () -> None
    """Take back what was done in this process; `start` does it again."""
    global started
    with loading:
        if loaded:
            load("finders").stop()
        if "hooks" in loaded:
            loaded["hooks"].stop()
        if watcher in sys.meta_path:
            sys.meta_path.remove(watcher)
        layers.clear()
        known_path.clear()
        started = False


if __name__ == LIVE_NAME:
    start(sys._getframe().f_code)
