"""Measures what imports ask a workspace mount, and how long they take on one that answers after 2 ms."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING

from tests.lab.node import OFF
from tests.lab.workspace import Workspace
from tests.lab.workspace.editables import MODULES, PACKAGES, add_everything
from tests.lab.workspace.measure import MISSING, UNRELATED, measure_many_modules

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.measure import Figures
    from tests.lab.interpreters import Interpreter

LATENCY = 2
ROUNDS = 3


def measure_mount(folder: Path, interpreter: Interpreter, wheelhouse: Path) -> Figures:
    """Return a figure for each budget of a mount. Times are medians of three rounds."""
    with Workspace(folder, interpreter, wheelhouse) as workspace:
        add_everything(workspace)
        workspace.install_shim()
        start, unrelated = (count_more(workspace, code) for code in ("pass", UNRELATED))
        missing = workspace.plain_notebook.run(MISSING * 5, check=True).calls
        listings = Counter(call.path for call in missing if call.operation == "opendir")
        ours, plain = (
            [measure_many_modules(workspace, LATENCY, shim=shim) for _ in range(ROUNDS)] for shim in (True, False)
        )
    first, cached = (
        statistics.median(round_[at].seconds for round_ in ours)
        / statistics.median(round_[at].seconds for round_ in plain)
        for at in (0, 1)
    )
    calls = statistics.median(round_[1].calls for round_ in ours)
    return {
        "mount_start": start,
        "mount_unrelated": unrelated,
        "mount_missing": max(listings.values(), default=0),
        "mount_calls": calls / (PACKAGES * (MODULES + 1) + 1),
        "mount_cached": cached,
        "mount_first": first,
    }


def count_more(workspace: Workspace, code: str) -> int:
    """Return how many more calls code takes in a new interpreter of a notebook with the shim than without it."""
    with_it, without = (len(workspace.plain_notebook.run(code, environ, check=True).calls) for environ in ({}, OFF))
    return with_it - without
