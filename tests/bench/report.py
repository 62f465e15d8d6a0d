"""Writes the report: tables for people, and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench.budgets import BUDGETS, MOUNT, Budget, is_over

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.measure import Figures, Starts

OVER = "**{}** (over)"
STARTS = {
    "bare": "bare",
    "notebook": "notebook, 3 editable installs",
    "crowded": "the same with 2,000 more distributions",
    "many": "notebook, 200 editable installs",
}
SITECUSTOMIZES = {"without": "none", "empty": "an empty one", "off": "the shim, turned off", "with": "the shim"}
STAGES = {
    "find and run one more file": ("without", "empty"),
    "load the shim": ("empty", "off"),
    "run the shim": ("off", "with"),
}
"""The steps of a start with the shim; each costs the difference of two variants."""


@dataclass(frozen=True)
class Report:
    """One run of the benchmark."""

    tools: dict[str, str]
    """Each tool's version."""
    rounds: int
    pythons: dict[str, str] = field(default_factory=dict)
    """Each interpreter's full version."""
    figures: dict[str, Figures] = field(default_factory=dict)
    """Each interpreter's figures, by the key of their budget."""
    starts: dict[str, Starts] = field(default_factory=dict)
    mount: dict[str, Figures] = field(default_factory=dict)
    """The figures of a workspace mount, if one could be made."""

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that `to_json` wrote."""
        written: dict[str, Any] = json.loads(text)
        return cls(**written)

    def to_table(self) -> str:
        """Return Markdown tables: the figures beside their budgets, and the starts that they come from."""
        figures = tabulate(BUDGETS, self.figures)
        starts = [["start", "`sitecustomize.py`", *self.starts]]
        for name, what in STARTS.items():
            for variant, which in SITECUSTOMIZES.items():
                found = [show_start(measured[name], variant) for measured in self.starts.values()]
                starts.append([what, which, *found])
        stages = [["start", "thousand instructions to", *self.starts]]
        for name in ("bare", "notebook"):
            for stage, (before, after) in STAGES.items():
                counts = [measured[name]["instructions"] for measured in self.starts.values()]
                stages.append([STARTS[name], stage, *(f"{(each[after] - each[before]) / 1000:.0f}" for each in counts)])
        tools = ", ".join(" ".join(named) for named in self.tools.items())
        by = f"CPython {', '.join(self.pythons.values())}; {tools}; rounds: {self.rounds}."
        mount = f"{join(tabulate(MOUNT, self.mount, 'on a workspace mount'))}\n\n" if self.mount else ""
        return f"{join(figures)}\n\n{join(starts)}\n\n{join(stages)}\n\n{mount}{by}\n"


def tabulate(budgets: Mapping[str, Budget], figures: Mapping[str, Figures], what: str = "what") -> list[list[str]]:
    """Return figures beside their budgets, with a column for each interpreter."""
    rows = [[what, "at most", *figures]]
    for key, budget in budgets.items():
        most = "" if budget.most is None else f"{budget.most:g} "
        rows.append(
            [budget.what, f"{most}{budget.unit}", *(show(budget, measured[key]) for measured in figures.values())]
        )
    return rows


def show(budget: Budget, figure: float) -> str:
    """Return a figure with its significant digits."""
    few = 2 if figure < 10 else 1
    digits = 0 if budget.unit in {"calls", "listings a root"} else few + budget.unit.startswith("x ")
    text = f"{figure:.{digits}f}"
    return OVER.format(text) if is_over(budget, figure) else text


def show_start(start: dict[str, dict[str, float]], variant: str) -> str:
    """Return what a start takes without a `sitecustomize`, or what another variant adds."""
    instructions, ms = start["instructions"], start["ms"][variant]
    if variant == "without":
        return f"{instructions[variant] / 1e6:.1f} M, {ms:.1f} ms"
    return f"{instructions[variant] / instructions['without']:.3f} x, {ms:+.2f} ms"


def join(lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([rows[0], f"|{'---|' * len(lines[0])}", *rows[1:]])
