"""The benchmark runs as documented, and its counts are within their budgets; times are never asserted."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.bench.budgets import BUDGETS, find_exceeded
from tests.bench.chart import draw
from tests.bench.report import Report
from tests.lab.interpreters import find_interpreters
from tests.lab.missing import missing
from tests.lab.trace import require
from tests.lab.wheels import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def documented() -> Report:
    """What the documentation shows."""
    return Report.from_json((DOCS / "performance.json").read_text())


def test_counts_are_within_their_budgets(tmp_path: Path) -> None:
    """Some minutes: an interpreter after the other, with as few rounds as counts need."""
    require("valgrind")
    require("strace")
    command = [sys.executable, "-m", "tests.bench", "--rounds", "1"]
    files = ["--json", str(tmp_path / "figures.json"), "--chart", str(tmp_path / "chart.svg")]

    done = subprocess.run([*command, *files], cwd=REPOSITORY, capture_output=True, text=True, timeout=2400, check=False)

    if "nodes need packages" in done.stderr:
        missing(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    report = Report.from_json((tmp_path / "figures.json").read_text())
    print(report.to_table())
    assert list(report.figures) == [found.name for found in find_interpreters() if not found.debian]
    for figures in report.figures.values():
        assert figures.keys() == BUDGETS.keys()
        assert find_exceeded({"": figures}) == []
        assert 1 < figures["bare"] < figures["notebook"]  # it is the shim that was measured
        assert figures["per_editable"] > 1
    assert report.to_table() in done.stdout
    assert ET.fromstring((tmp_path / "chart.svg").read_text()).tag.endswith("svg")


@pytest.mark.parametrize("key", [key for key, budget in BUDGETS.items() if budget.counted])
def test_count_over_its_budget_is_told(documented: Report, key: str) -> None:
    most = BUDGETS[key].most
    assert most is not None
    within = {name: dict(figures, **{key: most}) for name, figures in documented.figures.items()}
    over = {name: dict(figures, **{key: most * 1.01 + 0.01}) for name, figures in documented.figures.items()}

    assert find_exceeded(within) == []
    told = find_exceeded(over)

    assert len(told) == len(over)
    assert all(BUDGETS[key].what in line and f"more than {most:g}" in line for line in told)


def test_time_over_its_budget_is_marked_and_fails_nothing(documented: Report) -> None:
    figures = dict(documented.figures["3.12"], install=99.0)

    assert find_exceeded({"3.12": figures}) == []
    assert "| **99.0** (over) |" in replace(documented, figures={"3.12": figures}).to_table()


def test_page_shows_what_was_measured(documented: Report) -> None:
    assert documented.to_table() in (DOCS / "performance.md").read_text()
    assert draw(documented) == (DOCS / "performance.svg").read_text()
    assert all(figures.keys() == BUDGETS.keys() for figures in documented.figures.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rounds", "0"], "--rounds takes a number above 0"),
        (["--python", "2.7"], "invalid choice: '2.7'"),
    ],
)
def test_wrong_option_is_refused_before_anything_is_measured(options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "tests.bench", *options]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
