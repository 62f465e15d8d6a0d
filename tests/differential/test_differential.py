"""With the shim, random programs print what they print by plain Python with the model's path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.layouts import FINDER_STYLES, MOUNT_STYLES, STYLES
from tests.differential.runner import PROGRAMS_EACH, Site, make_case
from tests.differential.shrink import describe, shrink
from tests.lab.interpreters import Interpreter
from tests.lab.missing import missing
from tests.lab.workspace import find_missing
from tests.lab.workspace.namespace import NamespaceError


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, interpreter: Interpreter, style: str) -> Iterator[Site]:
    """An environment with the shim, for layouts of a style."""
    if style in MOUNT_STYLES and (lacking := find_missing()):
        missing(lacking)
    backends = request.getfixturevalue("backends") if style in FINDER_STYLES else None
    try:
        site = Site(tmp_path / "site", interpreter, backends, mounted=style in MOUNT_STYLES)
    except NamespaceError as error:
        missing(f"the right to mount a file system: {error}")
    with site:
        yield site
    shutil.rmtree(tmp_path)


def compare(site: Site, style: str, seed: int, programs: int) -> None:
    """Run programs of a seed, and fail with the first that differs, made small."""
    __tracebackhide__ = True
    for number in range(programs // PROGRAMS_EACH):
        for found in site.compare(*make_case(seed, style, number)):
            if found:
                smaller = describe(shrink(site, found))
                pytest.fail(f"{style}, seed {seed}, layout {number}:\n{smaller}", pytrace=False)


@pytest.mark.parametrize("style", STYLES)
def test_programs_print_the_same(site: Site, style: str) -> None:
    compare(site, style, seed=1, programs=50)


@pytest.mark.matrix
@pytest.mark.oldest_and_newest
@pytest.mark.parametrize("style", STYLES)
def test_many_programs_print_the_same(site: Site, style: str) -> None:
    compare(site, style, seed=2, programs=250)
