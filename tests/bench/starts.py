"""Measures starts: instructions and time, against the same start without a `sitecustomize`, and with an empty one."""

from __future__ import annotations

import statistics
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.bench.count import count_instructions, time_command
from tests.bench.scenes import VARIANTS, Start
from tests.lab.node import OFF
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.node import Notebook

SHIFTS = (0, 233, 466)
"""How many objects a start makes beforehand, so that garbage collections fall elsewhere.

A collection comes with each 700 objects (3.13: 2,000), and costs what all the others have left: up to 0.8 % of a start.
Whether one falls just before or just after the end is luck, of which the median of these has none.
"""


def compare_instructions(start: Start, opened: Path | None = None) -> dict[str, float]:
    """Count the instructions of each variant, by its name, in the median of starts that differ by the garbage's luck.

    That takes `opened`, a layer of the start whose `.pth` files `site` reads.
    """
    rounds: list[dict[str, float]] = []
    for shift in SHIFTS if opened else (0,):
        counts: dict[str, float] = {}
        for name in VARIANTS:
            with ExitStack() as stack:
                environ = stack.enter_context(start.variant(name))
                if opened:
                    stack.enter_context(shifted(opened, shift))
                counts[name] = count_instructions(start.node, start.command, environ)
        rounds.append(counts)
    return sorted(rounds, key=lambda counts: counts["with"] / counts["without"])[len(rounds) // 2]


@contextmanager
def shifted(opened: Path, shift: int) -> Iterator[None]:
    """Have a start make some objects before it comes to a `sitecustomize`."""
    line = opened / "a_shift.pth"
    line.write_text(f"import sys; sys.shift = [[] for _ in range({shift})]\n")
    try:
        yield
    finally:
        line.unlink()


def compare_times(start: Start, rounds: int) -> dict[str, float]:
    """Time each variant, by its name: milliseconds without, and those that the others add, as medians of the rounds.

    In each round all have their turn.
    """
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name in VARIANTS:
            with start.variant(name) as environ:
                times[name].append(time_command(start.node, start.command, environ) * 1000)
    base = times["without"]
    return {"without": statistics.median(base)} | {
        name: statistics.median(map(float.__sub__, times[name], base)) for name in VARIANTS[1:]
    }


def count_mount_calls(notebook: Notebook) -> int:
    """Count what a notebook's start asks of workspace folders because of us."""
    node, command = notebook.node, [notebook.python, "-c", "pass"]
    _, without = trace(node, node.workspace, command, notebook.environ | OFF)
    _, ours = trace(node, node.workspace, command, notebook.environ)
    return ours - without
