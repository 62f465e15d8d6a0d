"""The benchmark runs as documented, and its counts are within their budgets; times are never asserted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.__main__ import main
from tests.bench.budgets import BUDGETS, MOUNT, find_exceeded
from tests.bench.report import Report
from tests.lab.trace import require
from tests.lab.wheels import REPOSITORY
from tests.lab.workspace import find_missing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.interpreters import Interpreter

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def documented() -> Report:
    """What the documentation shows."""
    return Report.from_json((DOCS / "performance.json").read_text())


@pytest.mark.matrix
@pytest.mark.pythons("3.11")  # it has the least room; `tests/test_cost.py` counts starts on each
def test_counts_are_within_their_budgets(
    interpreter: Interpreter, wheelhouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One round is enough for the counts; it takes some minutes."""
    require("valgrind")
    require("strace")
    if interpreter.debian:
        pytest.skip("the benchmark compares the Pythons that python.org publishes")
    options = ["--rounds", "1", "--python", interpreter.name, "--json", str(tmp_path / "figures.json")]

    if find_missing():
        options.append("--no-mount")

    exit_code = main(options, wheelhouse.parent)

    printed = capsys.readouterr().out
    print(printed)
    report = Report.from_json((tmp_path / "figures.json").read_text())
    figures = report.figures[interpreter.name]
    assert exit_code == 0
    assert "Every count is within its budget." in printed
    assert report.to_table() in printed
    assert figures.keys() == BUDGETS.keys()
    assert 1 < figures["bare"] < figures["notebook"]  # the shim was there
    assert figures["per_editable"] > 1
    if "--no-mount" not in options:
        assert report.mount[interpreter.name].keys() == MOUNT.keys()


@pytest.mark.parametrize("key", [key for key, budget in BUDGETS.items() if budget.counted])
def test_count_over_its_budget_is_reported(documented: Report, key: str) -> None:
    most = BUDGETS[key].most
    assert most is not None
    within = {name: dict(figures, **{key: most}) for name, figures in documented.figures.items()}
    over = {name: dict(figures, **{key: most * 1.01 + 0.01}) for name, figures in documented.figures.items()}

    assert find_exceeded(within) == []
    reported = find_exceeded(over)

    assert len(reported) == len(over)
    assert all(BUDGETS[key].what in line and f"more than {most:g}" in line for line in reported)


def test_time_over_its_budget_is_marked_and_fails_nothing(documented: Report) -> None:
    figures = dict(documented.figures["3.12"], install=99.0)

    assert find_exceeded({"3.12": figures}) == []
    assert "| **99.0** (over) |" in replace(documented, figures={"3.12": figures}).to_table()


def test_page_shows_what_was_measured(documented: Report) -> None:
    assert documented.to_table() in (DOCS / "performance.md").read_text()
    assert all(figures.keys() == BUDGETS.keys() for figures in documented.figures.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds takes a number above 0"),
        (["--python", "2.7"], "invalid choice: '2.7'"),
    ],
)
def test_wrong_option_is_refused_before_anything_is_measured(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)

    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert message in printed.err
