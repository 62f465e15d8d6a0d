"""What is measured, and the most that it may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """One row of the report."""

    what: str
    unit: str
    most: float | None
    """In that unit; None where a figure stands for comparison only."""
    counted: bool = False
    """Whether it is counted, and so the same on a noisy machine; the others are times."""


BARE = "a bare start, nothing to do"
NOTEBOOK = "a notebook's start: 221 distributions of a runtime, 3 editable installs"

BUDGETS = {
    "bare": Budget(BARE, "x instructions", 1.03, counted=True),
    "bare_setuptools": Budget("the same with setuptools' start-up file, and without us", "x instructions", None),
    "notebook": Budget(NOTEBOOK, "x instructions", 1.05, counted=True),
    "notebook_ms": Budget("the same", "ms more", 1),
    "per_distribution": Budget("each further distribution", "x a listing of its two folders", 1.1, counted=True),
    "per_editable": Budget("each further editable install", "thousand instructions", 90, counted=True),
    "many_ms": Budget("the same with 200 editable installs", "ms more", 5),
    "mount_calls": Budget("calls below /Workspace at such a start, because of us", "calls", 0, counted=True),
    "submodule": Budget("an import of a submodule: the watcher's answer", "µs", 0.2),
    "submodule_asked": Budget("the same, and importlib's asking one finder more", "µs more", None),
    "top_level": Budget("a first import of a top-level name, five layers", "µs more", 10),
    "failing": Budget("an import that fails for good", "µs more", 10),
    "look_up": Budget("a first look-up through Databricks' hook, patched", "x unpatched", 0.7),
    "package": Budget("300 modules behind that hook, 40 frames deep", "x plain Python", 1.05),
    "package_unpatched": Budget("the same, unpatched", "x plain Python", None),
    "import": Budget("`import dbx_patch`", "ms", 5),
    "install": Budget("`python -m dbx_patch.install`, with its proof", "s", 2),
}


def find_exceeded(figures: dict[str, dict[str, float]]) -> list[str]:
    """Say which figures of each interpreter are over their budgets, of those that are counted.

    Times are left to who reads them: machines are shared and noisy.
    """
    return [
        f"CPython {interpreter}: {budget.what}: {figure:.4g} {budget.unit}, more than {budget.most:g}"
        for interpreter, measured in figures.items()
        for key, figure in measured.items()
        if (budget := BUDGETS[key]).counted and is_over(budget, figure)
    ]


def is_over(budget: Budget, figure: float) -> bool:
    """Tell whether a figure is over its budget."""
    return budget.most is not None and figure > budget.most
