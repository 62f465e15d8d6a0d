"""The figures that are measured, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Budget:
    """One row of the report."""

    what: str
    unit: str
    most: float | None
    """The limit, in that unit; None for a figure that is only for comparison."""
    counted: bool = False
    """Whether it is counted, so the same on a noisy machine; other figures are times."""


BARE = "a bare start, nothing to do"
NOTEBOOK = "a notebook's start: 221 distributions of a runtime, 3 editable installs"

BUDGETS = {
    "bare": Budget(BARE, "x instructions", 1.03, counted=True),
    # `site` reads the wheel's `.pth` file twice in a virtual environment, 1 %, and compiles its line each time, 0.8 %.
    # Python 3.13 loads a codec for the first `.pth` file that it reads, 3 %.
    "bare_wheel": Budget("a bare start by the start-up wheel", "x instructions", 1.07, counted=True),
    "bare_pth": Budget("a bare start with one comment in a `.pth` file instead of dbx-patch", "x instructions", None),
    "bare_setuptools": Budget(
        "a bare start with setuptools' start-up file instead of dbx-patch", "x instructions", None
    ),
    "notebook": Budget(NOTEBOOK, "x instructions", 1.05, counted=True),
    "notebook_ms": Budget("the same in time", "ms more", 1),
    "notebook_prefix": Budget("the same with PYTHONPYCACHEPREFIX", "x instructions", 1.05, counted=True),
    "notebook_compiled": Budget("the same where nothing can be written there", "x instructions", None),
    "per_distribution": Budget("each further distribution", "x a listing of its two folders", 1.1, counted=True),
    "per_editable": Budget("each further editable install", "thousand instructions", 90, counted=True),
    "many_ms": Budget("the same with 200 editable installs", "ms more", 5),
    "mount_calls": Budget(
        "system calls below /Workspace that dbx-patch adds to such a start", "calls", 0, counted=True
    ),
    "submodule": Budget("the import of a submodule: the shim's own work", "µs", 0.2),
    "submodule_asked": Budget("the same with what importlib needs to ask one more finder", "µs more", None),
    "top_level": Budget("the first import of a top-level name, with five layers", "µs more", 10),
    "failing": Budget("an import that fails", "µs more", 10),
    "look_up": Budget("the first look-up through Databricks' hook, patched", "x unpatched", 0.7),
    "package": Budget("300 modules behind that hook, 40 frames deep", "x plain Python", 1.05),
    "package_unpatched": Budget("the same, unpatched", "x plain Python", None),
    "import": Budget("`import dbx_patch`", "ms", 5),
    "install": Budget("`python -m dbx_patch.install`, with its proof", "s", 2),
}


MOUNT = {
    "mount_start": Budget(
        "an interpreter's start, with 14 editable installs on the mount", "calls more", 0, counted=True
    ),
    "mount_unrelated": Budget("`import subprocess, pickle, asyncio`", "calls more", 0, counted=True),
    "mount_missing": Budget("a name that is missing, looked for 5 times", "listings a root", 1, counted=True),
    "mount_calls": Budget("300 modules, byte code cached", "calls a module", 1.25, counted=True),
    "mount_cached": Budget("300 modules, byte code cached", "x plain Python", 0.27),
    "mount_first": Budget("300 modules, imported for the first time", "x plain Python", 0.4),
}
"""The figures of a workspace mount that takes 2 ms to answer; plain Python has its `__pycache__` there."""


def find_exceeded(figures: dict[str, dict[str, float]], budgets: Mapping[str, Budget] = BUDGETS) -> list[str]:
    """List the counted figures that are over their budgets.

    Times are only marked in the report: they depend on the machine.
    """
    return [
        f"CPython {interpreter}: {budget.what}: {figure:.4g} {budget.unit}, more than {budget.most:g}"
        for interpreter, measured in figures.items()
        for key, figure in measured.items()
        if (budget := budgets[key]).counted and is_over(budget, figure)
    ]


def is_over(budget: Budget, figure: float) -> bool:
    """Return whether a figure is over its budget."""
    return budget.most is not None and figure > budget.most
