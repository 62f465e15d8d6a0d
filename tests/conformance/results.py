"""How the tests of a suite ended, and which of them fail with the shim only."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess


@dataclass(frozen=True)
class Results:
    """The tests of a suite by how they ended."""

    passed: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Skipped tests and why."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Failed tests and their tracebacks."""


def read_json(file: Path, done: CompletedProcess[str]) -> Results:
    """Read what `run_unittest.py` has written; without that, the process itself is what failed."""
    if done.returncode or not file.exists():
        return describe_crash(done)
    found = json.loads(file.read_text(encoding="utf-8"))
    return Results(frozenset(found["passed"]), found["left_out"], found["failed"])


def read_junit(file: Path, done: CompletedProcess[str]) -> Results:
    """Read what `pytest --junit-xml` has written; without that, the process itself is what failed."""
    if done.returncode not in (0, 1) or not file.exists():
        return describe_crash(done)
    passed, left_out, failed = set(), {}, {}
    for case in ET.parse(file).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        outcome = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if outcome is None:
            passed.add(name)
        elif outcome.tag == "skipped":
            left_out[name] = outcome.get("message") or ""
        else:
            failed[name] = outcome.text or outcome.get("message") or ""
    return Results(frozenset(passed), left_out, failed)


def describe_crash(done: CompletedProcess[str]) -> Results:
    """Return the results of a process that ended before it could write any."""
    return Results(failed={"the process": f"exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"})


def find_failures_of_shim(with_shim: Results, run_without: Callable[[], Results]) -> dict[str, str]:
    """Return the tests that fail with the shim only, and their tracebacks. Asks for the other run only if needed."""
    if not with_shim.failed:
        return {}
    without = run_without().failed
    return {name: text for name, text in with_shim.failed.items() if name not in without}
