"""How the results of other projects' tests are read and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conformance.results import Results, find_failures_of_shim, read_json, read_junit

JUNIT = """\
<?xml version="1.0"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a.TestB" name="test_two"><failure message="no">a traceback</failure></testcase>
<testcase classname="" name="tests.test_c"><error message="collection failure">another traceback</error></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped message="not here"/></testcase>
</testsuite></testsuites>
"""


def done(code: int = 0) -> CompletedProcess[str]:
    return CompletedProcess([], code, "printed", "and why")


def test_junit_of_pytest_names_each_test(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(JUNIT)

    assert read_junit(file, done(1)) == Results(
        passed=frozenset({"tests.test_a.test_one"}),
        left_out={"tests.test_a.test_three": "not here"},
        failed={"tests.test_a.TestB.test_two": "a traceback", ".tests.test_c": "another traceback"},
    )


@pytest.mark.parametrize("read", [read_json, read_junit])
def test_process_that_crashed_is_a_failure(
    tmp_path: Path, read: Callable[[Path, CompletedProcess[str]], Results]
) -> None:
    results = read(tmp_path / "never-written", done(-11))

    assert results == Results(failed={"the process": "exit code -11\nprintedand why"})


def test_failures_without_the_shim_are_not_the_shim_s() -> None:
    with_shim = Results(failed={"both": "…", "shim only": "why"})
    without = Results(failed={"both": "…", "plain only": "…"})

    assert find_failures_of_shim(with_shim, lambda: without) == {"shim only": "why"}


def test_nothing_runs_without_the_shim_where_all_pass_with_it() -> None:
    assert find_failures_of_shim(Results(passed=frozenset({"a"})), pytest.fail) == {}
