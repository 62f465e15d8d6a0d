# This file is a part of dbx-patch's start-up shim: it has the finders of editable installs asked in the order of their
# layers, and absent roots asked again. `dbx_patch_sitecustomize.py` loads it when an install has a finder, or is made
# while the process runs, or when an import is about to fail, and is its `shim`. The rules at the top of that file hold
# here as well.

import _frozen_importlib as importlib
import posix
import sys
from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import FileFinder, PathFinder, spec_from_file_location
from _frozen_importlib_external import _NamespacePath as NamespacePath  # type: ignore[attr-defined]
from _thread import get_ident
from time import monotonic, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
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

MARKS = (
    b"\nclass ScikitBuildRedirectingFinder",
    b"from editables.redirector import RedirectingFinder",
    b"\nclass MesonpyMetaFinder",
    b"\nclass _EditableFinder",
)
"""What each build backend writes into the module of its finder."""
MARK_WITHIN = 1 << 16
"""Bytes of a finder's module in which its mark is. The largest, scikit-build-core's, has it in the first 15,000."""
BEING_WRITTEN = 10_000_000_000
"""Nanoseconds in which a finder's module that has failed may still be being written."""
NEVER = float("inf")
HONORED_WITHIN = 1.0
"""Seconds that an import waits while another thread honors an install."""
NOT_OF_THE_MOUNT = (12, 23, 24)
"""ENOMEM, ENFILE and EMFILE: the process or the machine has too little of something, and the root may well be there."""
Namespace: "Any" = type(sys.implementation)  # `types.SimpleNamespace`, without importing `types`
turns: "list[tuple[str, Find]]" = []
"""The layers of editable installs that have a finder, each with the finder's `find_spec`."""
ordered_for: "list[str]" = []
"""`sys.path` as it was when the turns were last put in its order."""
ran: "list[ModuleType]" = []
"""The modules of finders that `site` had not run."""
set_aside: "list[tuple[Any, Find, object]]" = []
"""The finders that answer in their turn only, their present `find_spec`, and the one in their own `__dict__` before."""
places: "dict[tuple[Find, str], frozenset[str]]" = {}
"""Where each finder has a module or package: its file or folders, normalized; empty if it does not have it."""
tried: "dict[tuple[str, str], tuple[int, float]]" = {}
"""Each import line that has failed or was interrupted, by its layer and finder: when the finder's module was written,
and from when on, by the monotonic clock, the line can be run again."""
adopt: "Callable[..., object]" = editables.defer("mounts", "adopt")
"""Treats what a finder has found as a module in a root, if it is on a mount."""
others_at = [0.0]
"""When roots that have another finder, such as Databricks', can be asked again, by the monotonic clock."""


# Whose installs are honored


def find_opened_layers() -> "set[str]":
    """Return the folders whose `.pth` files `site` reads. Other layers are on `sys.path` as plain entries."""
    site = sys.modules.get("site")
    if site is None:  # python -S
        return set()
    return {*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""}


def read_start(layer: str, name: str) -> "list[Editable]":
    """Return the lines of a layer's `.start` file that install a finder, each as the import line that does the same."""
    start = "%s/%s" % (layer.rstrip("/"), name)
    found: list[Editable] = []
    try:
        for line in editables.read_pth(start):
            module, _, function = line.partition(":")
            if module.isidentifier() and function.isidentifier():
                found.append(editables.parse_line(layer, start, "import %s; %s.%s()" % (module, module, function)))
    except OSError as error:
        shim.log("file unreadable", start, str(error))
    except ValueError as error:
        shim.log("file refused", start, str(error))
        return []
    return [editable for editable in found if editable["finder"]]


def is_finder(layer: str, name: str, pth: str) -> bool:
    """Return whether a module in a layer is the finder of an editable install, by its name or by what is in it.

    It is not run for a `.pth` file's line if the `.start` file of the same name is there to be read instead.

    The name begins with an underscore. Older releases of the backends give it other names: `_NAME_editable` is
    scikit-build-core's before 1.0, and `_NAME` that of `editables` before 0.3. Only modules with the names of today are
    reported when they are missing.
    """
    if sys.hexversion >= 0x30F0000 and pth.endswith(".pth"):  # until 3.14 is dropped: there, `.start` files are unknown
        try:
            posix.lstat(pth[:-3] + "start")
        except OSError:
            pass
        else:
            return False
    if name.startswith(("__editable___", "_editable_")) or name.endswith("_editable_loader"):
        return True
    try:
        descriptor = posix.open("%s/%s.py" % (layer, name), posix.O_NONBLOCK)
        try:
            data = posix.read(descriptor, MARK_WITHIN)
        finally:
            posix.close(descriptor)
    except OSError:  # as for a line of any other package
        return False
    return any([mark in data for mark in MARKS])


def check_module(module: str) -> int:
    """Return when a finder's module was written. Raises OSError if it is not there, ValueError if it must not be run.

    The rule is that for `.pth` files. It holds for the folder of its byte code too, which Python runs instead.
    """
    status = posix.lstat(module)
    if status.st_mode & 0o170000 == 0o120000:
        import os

        refuse_open_folder(os.path.realpath(module))
        status = posix.stat(module)
    if status.st_mode & 0o170000 != 0o100000:  # to open a named pipe would wait for a writer
        raise ValueError("its finder %s is not a regular file" % module)
    if status.st_mode & 0o002:
        raise ValueError("its finder %s is world-writable" % module)
    cache = module.rpartition("/")[0] + "/__pycache__"
    try:
        is_open = posix.stat(cache).st_mode & 0o002
    except OSError:  # there is none
        return status.st_mtime_ns
    if is_open:
        raise ValueError("the byte code of its finder in %s is world-writable" % cache)
    return status.st_mtime_ns


def refuse_open_folder(file: str) -> None:
    """Raise ValueError if the folder of a file that a link leads to is world-writable."""
    if posix.stat(file.rpartition("/")[0]).st_mode & 0o002:
        raise ValueError("it is a link into a world-writable folder")


def can_move(root: str, path: "list[Any]") -> bool:
    """Return whether a root on the path can be moved up: if it is an editable install's, or next to its layer.

    The metadata is read only where the file's name does not show it, and only for a root that would pass other entries.
    """
    layer, name = editables.roots[root], editables.files[root].rpartition("/")[2]
    if root in editables.added_roots or name.startswith(("_", "easy-install.pth")):  # flit writes `NAME.pth`
        return True
    passed = path[path.index(layer) + 1 : path.index(root)] if layer in path else path
    if all([isinstance(entry, str) and editables.normalize(entry) in editables.served for entry in passed]):
        return True
    return has_direct_url(layer, root)


def has_direct_url(layer: str, root: str) -> bool:
    """Return whether a layer has the metadata of an editable install of a project that a root is in.

    Raises OSError if the layer can't be listed.
    """
    for name in posix.listdir(layer):
        if name.endswith(".dist-info"):
            try:
                text = editables.read_file("%s/%s/direct_url.json" % (layer.rstrip("/"), name))
                project = parse_direct_url(text)
            except (OSError, ValueError):  # most distributions have no such file
                continue
            if project and (editables.normalize(root) + "/").startswith(editables.normalize(project) + "/"):
                return True
    return False


def parse_direct_url(data: bytes) -> str:
    """Return the folder of an editable install from its `direct_url.json`, or the empty string.

    The file is written by programs, and `json` would cost a start more than all of this.
    """
    data = b"".join(data.split())
    if b'"editable":true' not in data:
        return ""
    first, *escaped = data.partition(b'"url":"file://')[2].partition(b'"')[0].split(b"%")
    return (first + b"".join([bytes.fromhex(part[:2].decode()) + part[2:] for part in escaped])).decode()


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
    name, state = editable["pth"].rpartition("/")[2].rpartition(".")[0], editable["root"]
    if name == "easy-install":  # one file for several projects
        name = state
    elif name.startswith("__editable__."):
        name = name[13:].rpartition("-")[0]
    if editable["finder"]:
        state = "%s/%s.py of %d" % (editable["layer"], editable["finder"], editable["written"])
    return (editable["layer"], name), state


# Finders of editable installs


def honor(editable: "Editable") -> str:
    """Run an import line, unless `site` has, and have what it installs answer after its layer.

    Returns `done`, or if the line has failed, `again` or `failed`: whether the layer has to be listed again for it. An
    alarm may have raised, so in a process that has started, the line is run again once, after a second. It is also run
    again when its finder's module changes. The module may have been half-written, and to finish it does not change
    its layer.
    """
    key = editable["layer"], editable["finder"]
    written, again_at = tried.get(key, (-1, 0.0))
    is_same = written == editable["written"]
    if not is_same or monotonic() >= again_at:
        tried[key] = editable["written"], 0.0  # if it is interrupted, it is run again at once
        if run_line(editable, is_same):
            del tried[key]
            return "done"
        once_more = not is_same and not shim.is_starting()
        tried[key] = editable["written"], monotonic() + editables.ASK_AGAIN_AFTER if once_more else NEVER
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
    """Load a finder's module from its own layer, run the line, and add the finder's turn. Raises what they raise.

    A layer above can have a module of the same name. That one stays in `sys.modules`.
    """
    name = editable["finder"]
    spec: Any = spec_from_file_location(name, "%s/%s.py" % (editable["layer"].rstrip("/"), name))
    code = spec.loader.get_code(name)
    if not code.co_names:
        raise ImportError("%s is empty" % spec.origin)
    if "editables.redirector" in code.co_names:
        add_turn(editable, find_in(read_map(code)))
        return
    first: Any = sys.modules.get(name)
    module: Any = first
    if getattr(first, "__file__", "") != spec.origin:  # `site` has not run it
        line = compile(editable["line"], "<string>", "exec")  # `site` runs nothing of a line that is no Python
        module = module_from_spec(spec)
        done = False
        try:
            ran.append(module)
            sys.modules[name] = module
            exec(code, vars(module))
            exec(line, {})
            done = True
        finally:
            if first is not None:
                sys.modules[name] = first
            elif not done:
                sys.modules.pop(name, None)
            if not done:
                sys.meta_path[:] = [finder for finder in sys.meta_path if not is_from(finder, module)]
    for finder in list(sys.meta_path):
        if is_from(finder, module):
            add_turn(editable, finder.find_spec)
            answer_in_turn_only(finder)


def is_from(finder: "Any", module: "ModuleType") -> bool:
    """Return whether a module's code is what a finder runs to find a module."""
    return getattr(getattr(finder, "find_spec", None), "__globals__", None) is vars(module)


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


def find_in(names: "dict[str, str]") -> "Find":
    """Return a `find_spec` that answers as the finder of `editables` does, for some names."""

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        return spec_from_file_location(fullname, names[fullname]) if fullname in names else None

    return find_spec


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


def add_turn(editable: "Editable", find: "Find") -> None:
    """Have a finder answer after its layer and those above, and before those below."""
    turn = editable["layer"], find
    if turn not in turns:  # as when this was interrupted
        turns.append(turn)
    ordered_for.clear()
    if ordered not in sys.meta_path:
        at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(at, ordered)
    shim.log("finder honored", editable["pth"])


def answer_in_turn_only(finder: "Any") -> None:
    """Make a finder answer nothing where it put itself on `sys.meta_path`, as long as it is asked in its turn.

    meson-python and scikit-build-core put their finders first, where they would win over every layer. setuptools puts
    its own last, where it would answer for modules that the copy in a layer above does not have.
    """
    original = finder.find_spec
    own = getattr(finder, "__dict__", {}).get("find_spec")

    def find_spec(
        fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        return None if ordered in sys.meta_path else original(fullname, path, target)

    finder.find_spec = staticmethod(find_spec) if isinstance(finder, type) else find_spec
    set_aside.append((finder, find_spec, own))


def find_in_turn(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Answer for the finders of editable installs, each after its layer and before the next one.

    What a finder raises ends the import, unless a layer above has the module: another copy below may be an old one. An
    error of the mount is the cause of a ModuleNotFoundError then, which is what code that imports expects.
    """
    for layer, find in order_turns():
        if path is not None and is_shadowed(find, fullname):
            continue
        try:
            spec = find(fullname, path, target)
        except Exception as error:
            log_failure(find, fullname, error)
            above = find_above(layer, fullname, path)
            if above is None:
                if isinstance(error, OSError) and error.errno not in NOT_OF_THE_MOUNT:
                    raise ModuleNotFoundError("No module named %r" % fullname, name=fullname) from error
                raise
            return above
        if spec is not None:
            above = find_above(layer, fullname, path)
            if above is None:
                places[find, fullname] = list_places(spec)
                adopt(spec)
            return above or spec
    return None


def order_turns() -> "list[tuple[str, Find]]":
    """Return the turns in the order of their layers. A layer that was taken off `sys.path` comes first."""
    known = list_strings(sys.path)
    if known != ordered_for:
        ordered_for[:] = known
        # Not sorted in place: another thread that imports meanwhile would see an empty list.
        turns[:] = sorted(turns, key=lambda turn: known.index(turn[0]) if turn[0] in known else -1)
    return list(turns)


def list_strings(path: "Iterable[object]") -> "list[str]":
    """Return the entries of a path that Python searches. Other code may put anything on it."""
    return [entry for entry in path if isinstance(entry, str)]


def find_above(layer: str, fullname: str, path: "Sequence[str] | None") -> "ModuleSpec | None":
    """Return the spec of a module in a layer, or in what is above it; None if it has none, or only a namespace.

    The standard library counts as above every layer, also above one on PYTHONPATH.

    Of the path of a namespace package, these are the entries in a path entry above. A package that is one copy has all
    its modules from there.
    """
    known = list_strings(sys.path)
    entries = known[: known.index(layer) + 1] if layer in known else []
    if path is not None:
        # The folder of the standard library has layers in it, but no namespace package.
        above = [top for top in entries if top.startswith("/") and top not in editables.LIBRARY]
        tops = tuple([top.rstrip("/") + "/" for top in above])
        is_one = list_own_path(fullname.rpartition(".")[0])
        entries = [] if is_one else [entry for entry in list_strings(path) if entry.startswith(tops)]
    elif entries:
        entries += [folder for folder in editables.LIBRARY if folder in known and folder not in entries]
    spec = PathFinder.find_spec(fullname, entries) if entries else None
    return spec if spec is not None and spec.loader is not None else None


def is_shadowed(find: "Find", fullname: str) -> bool:
    """Return whether a module's package was imported from another place than the one that a finder has for it.

    The modules of two copies may not fit together.
    """
    package = fullname.rpartition(".")[0]
    while package:
        own = find_places(find, package)
        path = own and list_own_path(package)
        if path and own.isdisjoint(map(editables.normalize, path)):
            return True
        package = package.rpartition(".")[0]
    return False


def list_own_path(package: str) -> "list[str]":
    """Return the path of an imported package that is one copy; empty for a namespace, which is all its copies.

    `pkgutil.extend_path` makes a namespace of packages that have a file. It makes another list than importlib did.
    """
    module = sys.modules.get(package)
    path: Any = getattr(module, "__path__", None)
    spec = getattr(module, "__spec__", None)
    is_one = getattr(spec, "origin", None) and getattr(spec, "submodule_search_locations", None) is path
    return list_strings(path) if path and is_one else []


def find_places(find: "Find", name: str) -> "frozenset[str]":
    """Return where a finder has a module or package, asked once; empty if it does not have it."""
    if (find, name) not in places:
        found: frozenset[str] = frozenset()
        # scikit-build-core's finder for an install in place searches the path that it is given.
        path = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", None)
        try:
            spec = find(name, path, None)
            if spec is not None:
                found = list_places(spec)
        except Exception as error:
            log_failure(find, name, error)
            found = frozenset([""])  # it has the module, but nothing can be imported from there
        places[find, name] = found
    return places[find, name]


def log_failure(find: "Find", name: str, error: "Exception") -> None:
    """Log that a finder has raised an exception."""
    shim.log("finder failed", repr(getattr(find, "__self__", find)), "%s: %r" % (name, error))


def list_places(spec: "ModuleSpec") -> "frozenset[str]":
    """Return the folders of a package, or the file of a module, normalized."""
    return frozenset(map(editables.normalize, spec.submodule_search_locations or [spec.origin or ""]))


def locate(name: str) -> "frozenset[str]":
    """Return where the finders have a module or package; empty if none has it."""
    for _, find in order_turns():
        found = find_places(find, name)
        if any(found):
            return found
    return frozenset()


def has_place(place: str) -> bool:
    """Return whether the finders have a module or package in a file or folder."""
    return place in locate(place.rpartition("/")[2]) or any([place in found for found in list(places.values())])


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


# Roots


def find_usercustomize(fullname: str, path: object, target: object) -> "ModuleSpec":
    """Answer the last import that `site` makes, without searching the roots that we added: nothing touches those."""
    shim.watched[fullname] = None
    spec = PathFinder.find_spec(
        fullname, [entry for entry in list_strings(sys.path) if entry not in editables.added_roots]
    )
    if spec is None:
        raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
    return spec


class RootFinder(FileFinder):
    """Finds modules in a root that can be absent for a while, as a folder on a workspace mount can.

    Python itself would never ask the folder again. This asks it when a name is looked for that it could have, so a copy
    in a lower layer is not used once the root is back, but only once a second, because each question is a network call.
    """

    is_absent = False
    ask_again_at = 0.0

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """Find a module. An error of the mount means that the root is absent: it would end every import."""
        if self.is_absent and monotonic() < self.ask_again_at:
            return None
        was_absent = self.is_absent
        spec = None
        try:
            spec = super().find_spec(fullname, target)
            self.is_absent = self._path_mtime == -1  # type: ignore[attr-defined]  # it ignores errors of its `stat`
        except OSError as error:
            if error.errno in NOT_OF_THE_MOUNT:
                raise
            shim.log("root unavailable", self.path, repr(error))
            self.is_absent = True
        if self.is_absent:
            self.ask_again_at = monotonic() + editables.ASK_AGAIN_AFTER
        elif was_absent:
            shim.log("root available", self.path)
            update_namespaces()
        return spec

    def invalidate_caches(self) -> None:
        """Forget what the root has, and ask it at the next import."""
        super().invalidate_caches()
        self.ask_again_at = 0.0


def guard(finder: FileFinder) -> None:
    """Make Python's own file finder of a root one of ours. Other code may have put another finder there."""
    if type(finder) is FileFinder:
        mounts = shim.load("mounts")
        if mounts.is_on_mount(finder.path):
            mounts.convert(finder)
        else:
            finder.__class__ = RootFinder


def make_root_finder(path: str) -> FileFinder:
    """Return the finder of a root, whether that exists or not.

    Python's own path hook refuses an absent folder. So this makes the finder that the hook would make.
    """
    hook: Any = sys.path_hooks[editables.find_path_hook(editables.FOLDER_HOOK)]
    try:
        given = dict(zip(hook.__code__.co_freevars, [cell.cell_contents for cell in hook.__closure__]))
        finder: Any = given["cls"](path, *given["loader_details"])
    except (AttributeError, KeyError, TypeError):  # a Python that makes it in another way
        finder = hook(path)
    guard(finder)
    return finder  # type: ignore[no-any-return]


def update_namespaces() -> None:
    """Have each namespace package look for its portions again when it is used, as after a change of `sys.path`."""
    NamespacePath._epoch = getattr(NamespacePath, "_epoch", 0) + 1


def find_latecomer(
    fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """Look again for the portions of a namespace package when the import of a module in it is about to fail.

    Python looks for them once. A root that was absent then can have another portion.
    """
    if not isinstance(path, NamespacePath):
        return None
    now = monotonic()
    found = [sys.path_importer_cache.get(root) for root in editables.roots]
    due = [
        finder
        for finder in found
        if getattr(finder, "is_absent", True) and now >= getattr(finder, "ask_again_at", others_at[0])
    ]
    if not due:
        return None
    others_at[0] = now + editables.ASK_AGAIN_AFTER
    update_namespaces()
    return PathFinder.find_spec(fullname, path)


def forget_answers() -> None:
    """Drop cached answers."""
    places.clear()
    others_at[0] = 0.0


ordered: "Any" = find_in_turn
"""The finder directly before the path finder on `sys.meta_path`."""
ordered.find_spec = find_in_turn


def stop() -> None:
    """Undo what was done for finders: those that `site` installed answer where they put themselves."""
    for finder, ours, own in set_aside:
        if finder.find_spec is ours:  # other code may have patched it since; ours then calls the finder's own
            if own is None:
                del finder.find_spec
            else:
                finder.find_spec = own
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if finder is not ordered and not any([is_from(finder, gone) for gone in ran])
    ]
    for module in ran:
        if sys.modules.get(module.__name__) is module:
            del sys.modules[module.__name__]
    for known in (turns, ordered_for, ran, set_aside, tried):
        known.clear()
    forget_answers()
