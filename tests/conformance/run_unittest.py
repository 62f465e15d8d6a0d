"""Runs modules of Python's own `test` package and writes how each test ended: `run_unittest.py RESULTS MODULE…`.

The interpreter that is tested runs this file. `python -m test --junit-xml` would leave out failed subtests.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from pathlib import Path
from typing import Any

RESOURCES = ("cpu", "subprocess", "walltime")
"""What tests can use: not the network, not a display, not gigabytes of disk."""


class Outcomes(unittest.TestResult):
    """Collects the names of tests by how they ended."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[str] = []
        self.left_out: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed.append(name(test))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.left_out[name(test)] = reason

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.failed[name(test)] = self.failures[-1][1]

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.failed[name(test)] = self.errors[-1][1]

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        # A subtest's own name has values such as temporary paths, which the next run does not have.
        if err is not None:
            self.addError(test, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.failed[name(test)] = "unexpected success"


def name(test: unittest.TestCase) -> str:
    """Return the name of a test."""
    own: Any = test.id  # which the tests of sub-interpreters overwrite
    return own() if callable(own) else str(test)


def main(file: str, *modules: str) -> None:
    from test import support  # noqa: PLC0415 - the tested interpreter's

    support.use_resources = RESOURCES
    support.verbose = 0
    sys.path[0] = os.getcwd()  # noqa: PTH109 - as `python -m test` does
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames(modules).run(outcomes)
    results = {"passed": outcomes.passed, "left_out": outcomes.left_out, "failed": outcomes.failed}
    Path(file).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
