"""Fixtures of the tests that run other projects' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.place import Place, has_tests
from tests.lab.interpreters import Interpreter, find_interpreters
from tests.lab.missing import missing
from tests.lab.projects import Backends


@pytest.fixture
def place(interpreter: Interpreter, wheelhouse: Path, backends: Backends) -> Place:
    """Where tests run with and without the shim."""
    return Place(interpreter, wheelhouse, backends)


@pytest.fixture
def python_tests(place: Place) -> Place:
    """Where Python's own tests run."""
    if not has_tests(place.interpreter):
        missing("a Python that comes with its `test` package")
    return place


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out Python's own tests where they don't come with it, unless they come with no Python at all."""
    without = {found for found in find_interpreters() if not has_tests(found)}
    if without == {*find_interpreters()}:
        return
    left_out = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and "python_tests" in item.fixturenames
        and item.callspec.params["interpreter"] in without
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
