"""Reports the state of Databricks' import hooks in this process, and verifies those that need no patch."""

from __future__ import annotations

import builtins
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Literal

from dbx_patch._mounts import find_mount

State = Literal["armed", "patched", "verified", "missed", "absent", "incompatible"]
"""The state of a hook:

- armed: its module has not been imported, or no import passes through it;
- patched: the shim has patched it;
- verified: it needs no patch, and an editable module was just imported through it;
- missed: its module was imported before the shim could patch it;
- absent: this runtime does not have it;
- incompatible: it does not look as expected and was left unchanged, or it breaks the import of editable modules.
"""

HARMLESS = {
    "dbruntime.autoreload.discoverability.hook": "AutoreloadDiscoverabilityHook._patched_import",
    "builtins_import_patcher": "BuiltinsImportPatcher",
    "dbruntime.WsfsPathFinder": "WsfsPathFinder.find_spec",
    "dbruntime.workspace_import_machinery": "_WorkspacePathFinder.find_spec",
    "dbruntime.PostImportHook": "ImportHookFinder.find_spec",
    "pyspark.databricks.utils.PostImportHook": "ImportHookFinder.find_spec",
}
"""Each hook that should not block editable installs: its module, and the method or class that imports pass through.

docs/hooks.md has the evidence for each row. A row can go when the oldest supported runtime no longer has the module.
"""


@dataclass(frozen=True, slots=True)
class HookStatus:
    """The state of one of Databricks' import hooks in this process."""

    hook: str
    """Its module, and the function, method or class in it: `sys_path_init.patch_sys_path_with_developer_paths`."""
    state: State
    reason: str = ""
    """Why it has this state; empty if the state says everything."""

    def __str__(self) -> str:
        return f"{self.hook}: {self.state}" + (f": {self.reason}" if self.reason else "")


def check_patched(shim: Any) -> Iterator[HookStatus]:
    """List the states of the hooks that the shim patches. Import none of them."""
    for module, (name, _) in shim.HOOKS.items():
        state, _, reason = shim.hook_states.get(module, "armed").partition(": ")
        if state == "armed" and module in sys.modules:
            state = "missed"
            reason = "it was imported before the shim could patch it; call dbx_patch.patch_dbx()"
        if state == "armed" and is_absent(module, shim):
            state = "absent"
        yield HookStatus(f"{module}.{name}", state, reason)


def check_harmless(shim: Any) -> Iterator[HookStatus]:
    """List the states of the hooks that need no patch, after importing an empty module through them."""
    found = {module: find_module(module) for module in HARMLESS}
    codes = {module: set(find_codes(found[module], HARMLESS[module])) for module in HARMLESS}
    ran: set[CodeType] = set()
    problem = ""
    try:
        if any(codes.values()):
            ran, problem = import_probe(shim)
    except OSError as error:
        problem = f"not verified, because no temporary folder can be used: {error}"
    for module, name in HARMLESS.items():
        state: State
        reason = ""
        if found[module] is None:
            state = "absent" if is_absent(module, shim) else "armed"
        elif not codes[module]:
            state, reason = "incompatible", f"the module has no {name}"
        elif ran & codes[module]:
            state, reason = ("incompatible", problem) if problem else ("verified", "")
        else:
            state, reason = "armed", problem or "imported, but no import passes through it"
        yield HookStatus(f"{module}.{name}", state, reason)


def find_module(name: str) -> ModuleType | None:
    """Return an imported module, or None. A name without a dot also matches a module inside any package."""
    if name in sys.modules or "." in name:
        return sys.modules.get(name)
    found = (module for full, module in list(sys.modules.items()) if full.rpartition(".")[2] == name)
    return next(found, None)


def is_absent(module: str, shim: Any) -> bool:
    """Return whether an import of a module would fail, as far as that is known without importing its package.

    The hooks are the runtime's, so nothing that is on a mount is searched.
    """
    parent = module.rpartition(".")[0]
    if parent and parent not in sys.modules:
        return is_absent(parent, shim)
    path = getattr(sys.modules[parent], "__path__", []) if parent else None
    local = [
        entry for entry in (sys.path if path is None else path) if isinstance(entry, str) and not find_mount(entry)
    ]
    # The shim's watcher is left out: it claims the names of all hooks. `importlib.util.find_spec` would ask it.
    others = [finder for finder in sys.meta_path if finder is not shim.watcher and hasattr(finder, "find_spec")]
    return all(finder.find_spec(module, local if finder is PathFinder else path, None) is None for finder in others)


def find_codes(module: ModuleType | None, name: str) -> Iterator[CodeType]:
    """List the code objects of a method, or of a class's methods, with those of the functions inside them."""
    found: object = module
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    functions = vars(found).values() if isinstance(found, type) else [found]
    plain = [getattr(function, "__func__", function) for function in functions]
    codes = [function.__code__ for function in plain if isinstance(function, FunctionType)]
    while codes:
        code = codes.pop()
        yield code
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]


def import_probe(shim: Any) -> tuple[set[CodeType], str]:
    """Import an empty module as from an editable install. Return the code objects that ran, and what went wrong.

    Raises OSError if no temporary folder can be used.
    """
    ran: set[CodeType] = set()

    def note(frame: FrameType, _event: str, _arg: object) -> None:
        ran.add(frame.f_code)

    if sys.getprofile() is not None:
        return ran, "not verified, because a profiler is running"
    try:
        editables = shim.load("editables")
    except Exception as error:  # noqa: BLE001  # dbx-patch was uninstalled or updated after this process started
        return ran, f"not verified, because {error!r}"
    name = f"dbx_patch_probe_{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="dbx-patch-") as folder:
        file = Path(folder, f"{name}.py")
        file.touch()
        sys.path.insert(0, folder)  # so that no folder on a mount is asked for it
        editables.served.add(editables.normalize(folder))
        sys.setprofile(note)
        try:
            probe = builtins.__import__(name)
        except Exception as error:  # noqa: BLE001  # whatever a hook raises is the finding
            return ran, f"an editable module could not be imported: {error!r}"
        finally:
            sys.setprofile(None)
            editables.served.discard(editables.normalize(folder))
            sys.path.remove(folder)
            sys.modules.pop(name, None)
            sys.path_importer_cache.pop(folder, None)
        found = getattr(probe, "__file__", None)
    return ran, "" if found == str(file) else f"an editable module was imported from {found} instead of {file}"
