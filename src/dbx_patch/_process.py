"""Patches the running process, reports its state, and undoes the patches: what you call in a notebook."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dbx_patch import _html
from dbx_patch._verify import HookStatus, State, check_harmless, check_patched
from dbx_patch.sitecustomize_template import template

if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Event

MARKS: dict[State, str] = {
    "patched": _html.PASSED,
    "verified": _html.PASSED,
    "armed": _html.SKIPPED,
    "absent": _html.SKIPPED,
    "missed": _html.FAILED,
    "incompatible": _html.FAILED,
}
"""What a notebook shows before a hook in each state."""
printed: set[Event] = set()
"""The events of the journal that have been printed."""


@dataclass(frozen=True, slots=True)
class PatchStatus:
    """The state of dbx-patch in this process."""

    live: bool
    """Whether the shim runs here, started with the interpreter or by `patch_dbx`."""
    version: str | None
    """The version that runs, such as `0.2.0`; None if none does."""
    file: str | None
    """The path of the file that it was loaded from; None if it does not run."""
    hooks: tuple[HookStatus, ...]
    """The import hooks that dbx-patch knows; empty if it does not run."""

    def __str__(self) -> str:
        return "\n".join([self._head(), *(f"  {hook}" for hook in self.hooks)])

    def _head(self) -> str:
        return f"dbx-patch {self.version} is live, from {self.file}" if self.live else "dbx-patch is not live"

    def _repr_html_(self) -> str:
        """Return it as a table for a notebook."""
        head = f"<p>{_html.mark(_html.PASSED if self.live else _html.FAILED)} {escape(self._head())}</p>"
        rows = [
            (_html.mark(MARKS[each.state], each.state), _html.code(each.hook), escape(each.reason))
            for each in self.hooks
        ]
        return _html.page(head, _html.table(("state", "Databricks' hook", "why"), rows))


def patch_dbx(*, verbose: bool = False) -> PatchStatus:
    """Do in this process what the start-up file does in every new one, and return the state after that.

    Editable installs are honored. Hooks that have been imported are patched at once, the others when they are imported.
    Call it again to honor what you have installed since. With `verbose`, print every event that has not been printed
    before, one a line. With DBX_PATCH_DISABLE=1 in the environment, nothing is done.

    Raises OSError or SyntaxError if dbx-patch's own files can't be read, and ModuleNotFoundError on Windows, where the
    shim can't run; what fails after that is in the journal.
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
        print_events(shim)
    return check_patch_status()


def print_events(shim: Any) -> None:
    """Print the events of the journal that have not been printed yet, as DBX_PATCH_DEBUG=1 prints them."""
    state = f"live, from {find_file(shim)}" if shim.started else "turned off by DBX_PATCH_DISABLE"
    events = [event for event in shim.journal if event not in printed]
    printed.update(events)
    lines = [": ".join(filter(None, event)) for event in events] or ["nothing new"]
    print("\n  ".join([f"dbx-patch {shim.VERSION} is {state}", *lines]))


def remove_all_patches() -> PatchStatus:
    """Restore every function, finder and `sys.path` entry that was changed in this process, and return its state.

    `patch_dbx` applies the patches again. New interpreters still start with the shim; to end that, uninstall it.
    """
    shim = find_shim()
    if shim is not None:
        shim.stop()
    return check_patch_status()


def check_patch_status() -> PatchStatus:
    """Return the state of the shim in this process, and of each import hook that it knows.

    To verify the hooks that need no patch, an empty module in a temporary folder is imported through them and removed
    again. If that fails, nothing is raised, and the reason is in the hook's status.
    """
    shim = find_shim()
    if shim is None or not shim.started:
        return PatchStatus(live=False, version=None, file=None, hooks=())
    hooks = [*check_patched(shim), *check_harmless(shim)]
    return PatchStatus(live=True, version=shim.VERSION, file=find_file(shim), hooks=tuple(hooks))


def find_shim() -> Any:  # a module of any version
    """Return the shim that is loaded in this process, or None."""
    return sys.modules.get(template.LIVE_NAME)


def find_file(shim: Any) -> str:
    """Return the path of the file that a shim was loaded from. Builds from before December 2026 have a `__file__`."""
    return str(getattr(shim, "__file__", None) or shim.__spec__.origin)
