"""Measures starts: instructions and time, against the same start without a `sitecustomize`, and with an empty one."""

from __future__ import annotations

import statistics
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench.count import count_instructions, time_command
from tests.bench.scenes import VARIANTS, Start
from tests.lab.node import OFF
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.lab.node import Notebook

SHIFTS = (0, 233, 466)
"""How many objects a start makes beforehand, so that garbage collections fall elsewhere.

A collection runs for each 700 new objects (3.13: 2,000), and can cost 0.8 % of a start. Whether the last one falls just
before or just after the start's end is luck; the median of three starts is not affected.
"""


def compare_instructions(
    start: Start, opened: Path | None = None, variants: Sequence[str] = VARIANTS
) -> dict[str, float]:
    """Return the instructions of each variant.

    With `opened`, a layer whose `.pth` files `site` reads, that is the median of three starts; see SHIFTS.
    """
    rounds: list[dict[str, float]] = []
    for shift in SHIFTS if opened else (0,):
        counts: dict[str, float] = {}
        for name in variants:
            with ExitStack() as stack:
                environ = stack.enter_context(start.variant(name))
                if opened:
                    stack.enter_context(shifted(opened, shift))
                counts[name] = count_instructions(start.node, start.command, environ)
        rounds.append(counts)
    return sorted(rounds, key=lambda counts: counts["with"] / counts["without"])[len(rounds) // 2]


def compare_byte_code_elsewhere(start: Start, opened: Path, folder: str) -> float:
    """Return how many times the instructions a start takes with the shim, where Python keeps byte code in a folder.

    It then uses no other byte code, so not what the installer has cached beside the shim either.
    """
    elsewhere = replace(start, environ=dict(start.environ) | {"PYTHONPYCACHEPREFIX": folder})
    counts = compare_instructions(elsewhere, opened, ("without", "with"))
    return counts["with"] / counts["without"]


@contextmanager
def shifted(opened: Path, shift: int) -> Iterator[None]:
    """Let a start make some objects before it imports `sitecustomize`."""
    line = opened / "a_shift.pth"
    line.write_text(f"import sys; sys.shift = [[] for _ in range({shift})]\n")
    try:
        yield
    finally:
        line.unlink()


def compare_times(start: Start, rounds: int) -> dict[str, float]:
    """Return the milliseconds of the variant without a `sitecustomize`, and those that each other variant adds.

    Each round times all variants, so a noisy machine disturbs all alike.
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
    """Return how many system calls on workspace folders the shim adds to a notebook's start."""
    node, command = notebook.node, [notebook.python, "-c", "pass"]
    _, without = trace(node, node.workspace, command, notebook.environ | OFF)
    _, ours = trace(node, node.workspace, command, notebook.environ)
    return ours - without
