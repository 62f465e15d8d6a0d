"""What a person asks for in a notebook: patch this process, tell how its hooks stand, and take it all back."""

from __future__ import annotations

import builtins
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Literal

from dbx_patch.sitecustomize_template import template

State = Literal["armed", "patched", "verified", "absent", "incompatible"]
"""How a hook stands:

- armed: its module has not been imported, or no import comes by it;
- patched: it has been patched;
- verified: it needs no patch, and an editable module was just imported through it;
- absent: this runtime has none;
- incompatible: it is not of a shape that is known and was left as it is, or it breaks the import of editable modules.
"""

HARMLESS = {
    "dbruntime.autoreload.discoverability.hook": "AutoreloadDiscoverabilityHook._patched_import",
    "builtins_import_patcher": "BuiltinsImportPatcher",
    "dbruntime.WsfsPathFinder": "WsfsPathFinder.find_spec",
    "dbruntime.workspace_import_machinery": "_WorkspacePathFinder.find_spec",
    "dbruntime.PostImportHook": "ImportHookFinder.find_spec",
    "pyspark.databricks.utils.PostImportHook": "ImportHookFinder.find_spec",
}
"""Module of each hook that should not block, and the method, or the class, that an import comes by."""


printed: set[str] = set()
"""The lines of the journal that have been printed."""


@dataclass(frozen=True, slots=True)
class HookStatus:
    """How one of Databricks' import hooks stands in this process."""

    hook: str
    """Its module, and what in it is patched or verified."""
    state: State
    reason: str = ""
    """Why it stands so, if that needs saying."""

    def __str__(self) -> str:
        return f"{self.hook}: {self.state}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class PatchStatus:
    """How dbx-patch stands in this process."""

    live: bool
    """Whether the shim runs here, started with the interpreter or by `patch_dbx`."""
    version: str | None
    """The version that runs."""
    file: str | None
    """The file that it was loaded from."""
    hooks: tuple[HookStatus, ...]

    def __str__(self) -> str:
        return "\n".join([self._head(), *(f"  {hook}" for hook in self.hooks)])

    def _head(self) -> str:
        return f"dbx-patch {self.version} is live, from {self.file}" if self.live else "dbx-patch is not live"

    def _repr_html_(self) -> str:
        """Draw it as a table; all of it is escaped."""
        cells = [(hook.hook, hook.state, hook.reason) for hook in self.hooks]
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells]
        return f"<p>{escape(self._head())}</p><table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def patch_dbx(*, verbose: bool = False) -> PatchStatus:
    """Do for this process what the start-up file does for every new one, and return how it stands then.

    Editable installs are honored, hooks that have been imported are patched at once, and the others when they are. To
    call it again honors what has been installed since. `verbose` prints what was decided since it was last printed.
    DBX_PATCH_DISABLE=1 in the environment turns it off.
    """
    shim = find_shim()
    if shim is None:
        path = str(template.__file__)
        code = SourceFileLoader(template.LIVE_NAME, path).get_code(template.LIVE_NAME)
        shim = sys.modules[template.LIVE_NAME] = ModuleType(template.LIVE_NAME)
        shim.__file__ = path
        exec(code, vars(shim))  # type: ignore[arg-type]  # noqa: S102  # a source file has code; it starts itself
    else:
        shim.start()
    if verbose:
        print_news(shim)
    return check_patch_status()


def print_news(shim: Any) -> None:
    """Print the lines of the journal that have not been printed yet."""
    state = f"live, from {shim.__file__}" if shim.started else "turned off by DBX_PATCH_DISABLE"
    news = [line for line in shim.journal if line not in printed]
    printed.update(news)
    print("\n  ".join([f"dbx-patch {shim.VERSION} is {state}", *(news or ["nothing new"])]))


def remove_all_patches() -> PatchStatus:
    """Put back every function that was patched in this process, and every finder and root; `patch_dbx` applies again.

    The next interpreter starts as it is installed: to end that as well, uninstall.
    """
    shim = find_shim()
    if shim is not None:
        shim.stop()
    return check_patch_status()


def check_patch_status() -> PatchStatus:
    """Tell how the shim and each hook that it knows stand in this process.

    Hooks that should do no harm are tried: an empty module in a temporary folder is imported through them.
    """
    shim = find_shim()
    if shim is None or not shim.started:
        return PatchStatus(live=False, version=None, file=None, hooks=())
    hooks = [*check_patched(shim), *check_harmless(shim)]
    return PatchStatus(live=True, version=shim.VERSION, file=shim.__file__, hooks=tuple(hooks))


def find_shim() -> Any:  # a module of any version
    """Find the shim that was loaded in this process."""
    return sys.modules.get(template.LIVE_NAME)


def check_patched(shim: Any) -> Iterator[HookStatus]:
    """Tell how the hooks stand that the shim patches."""
    for module, (name, _) in shim.HOOKS.items():
        state, _, reason = shim.hook_states.get(module, "armed").partition(": ")
        if state == "armed" and module in sys.modules:
            state, reason = "incompatible", "it was imported past the shim; call dbx_patch.patch_dbx()"
        if state == "armed" and is_absent(module, shim):
            state = "absent"
        yield HookStatus(f"{module}.{name}", state, reason)


def check_harmless(shim: Any) -> Iterator[HookStatus]:
    """Import a module through the hooks that should do no harm, and tell which it came by and whether it was right."""
    found = {module: find_module(module) for module in HARMLESS}
    codes = {module: set(find_codes(found[module], HARMLESS[module])) for module in HARMLESS}
    came_by: set[CodeType] = set()
    problem = ""
    try:
        if any(codes.values()):
            came_by, problem = import_probe(shim)
    except OSError as error:
        problem = f"not tried, for want of a temporary folder: {error}"
    for module, name in HARMLESS.items():
        state: State
        reason = ""
        if found[module] is None:
            state = "absent" if is_absent(module, shim) else "armed"
        elif not codes[module]:
            state, reason = "incompatible", f"no {name}"
        elif came_by & codes[module]:
            state, reason = ("incompatible", problem) if problem else ("verified", "")
        else:
            state, reason = "armed", problem or "imported, but no import comes by it"
        yield HookStatus(f"{module}.{name}", state, reason)


def find_module(name: str) -> ModuleType | None:
    """Find an imported module; one that is known by its last name alone, in whichever package it is."""
    if name in sys.modules or "." in name:
        return sys.modules.get(name)
    found = (module for full, module in list(sys.modules.items()) if full.rpartition(".")[2] == name)
    return next(found, None)


def is_absent(module: str, shim: Any) -> bool:
    """Tell whether an import of a module would fail, as far as can be told without importing anything."""
    parent = module.rpartition(".")[0]
    if parent and parent not in sys.modules:
        return is_absent(parent, shim)
    path = getattr(sys.modules[parent], "__path__", []) if parent else None
    others = [finder for finder in sys.meta_path if finder is not shim.watcher and hasattr(finder, "find_spec")]
    return all(finder.find_spec(module, path, None) is None for finder in others)


def find_codes(module: ModuleType | None, name: str) -> Iterator[CodeType]:
    """List the code of a method, or of a class's methods, and of the functions that they make."""
    found: object = module
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    functions = vars(found).values() if isinstance(found, type) else [found]
    waiting = [getattr(function, "__func__", function) for function in functions]
    codes = [function.__code__ for function in waiting if isinstance(function, FunctionType)]
    while codes:
        code = codes.pop()
        yield code
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]


def import_probe(shim: Any) -> tuple[set[CodeType], str]:
    """Import an empty module as an editable install's; return the code that ran for it, and what was wrong.

    Raises OSError if there is no place for one.
    """
    came_by: set[CodeType] = set()

    def note(frame: FrameType, _event: str, _arg: object) -> None:
        came_by.add(frame.f_code)

    if sys.getprofile() is not None:
        return came_by, "a profiler runs, which this check would disturb"
    editables = shim.load("editables")
    name = f"dbx_patch_probe_{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="dbx-patch-") as folder:
        file = Path(folder, f"{name}.py")
        file.touch()
        sys.path.append(folder)
        editables.served.add(editables.normalize(folder))
        sys.setprofile(note)
        try:
            probe = builtins.__import__(name)
        except Exception as error:  # noqa: BLE001  # whatever a hook raises is the finding
            return came_by, f"an editable module could not be imported: {error!r}"
        finally:
            sys.setprofile(None)
            editables.served.discard(editables.normalize(folder))
            sys.path.remove(folder)
            sys.modules.pop(name, None)
            sys.path_importer_cache.pop(folder, None)
        found = getattr(probe, "__file__", None)
    return came_by, "" if found == str(file) else f"an editable module was imported from {found} instead of {file}"
