"""A project's folder that is absent when the interpreter starts, as workspace folders are (databricks/cli#1619)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.node import OFF
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

APPEAR = """\
import importlib, json, os, sys, time
def try_imports():
    answers = {{}}
    for name in {names!r}:
        try:
            answers[name] = importlib.import_module(name).function1()
        except ModuleNotFoundError as error:
            answers[name] = str(error)
    return answers
absent = try_imports()
os.rename({away!r}, {here!r})
{then}
deadline = time.monotonic() + {patience}
while try_imports() == absent and time.monotonic() < deadline:
    time.sleep(0.01)
present = try_imports()
finders = [type(sys.path_importer_cache.get(f"{here}/{{name}}/src")).__name__ for name in {names!r}]
print(json.dumps({{"absent": absent, "present": present, "finders": finders}}))
"""


@dataclass(frozen=True)
class Projects:
    """Two projects in a user's folder, and the notebook that is to import them.

    `testy` is editable in the notebook's own layer, which `site` opens, and `testx` in the runtime's, which `site`
    does not open.
    """

    node: Node
    notebook: Notebook
    names = ("testx", "testy")

    @property
    def folder(self) -> Path:
        """The user's folder."""
        return self.node.project("testx").parent

    @property
    def away(self) -> Path:
        """Where the folder is while it is absent."""
        return self.node.root / "away"

    def appear(self, patience: float = 30, then: str = "") -> str:
        """Return code that fails to import both, moves them to their place, and tries again for some seconds."""
        return APPEAR.format(names=self.names, away=str(self.away), here=str(self.folder), patience=patience, then=then)

    @property
    def missing(self) -> dict[str, str]:
        """What the imports answer while the projects are absent."""
        return {name: f"No module named '{name}'" for name in self.names}

    @property
    def imported(self) -> dict[str, str]:
        """What the imports answer when they work."""
        return {name: f"function1 of {self.folder}/{name}/src/{name}/functions.py" for name in self.names}


@pytest.fixture(scope="session")
def notebooks() -> dict[Path, Notebook]:
    """The notebook of each shared node that has `testy` in its own layer."""
    return {}


@pytest.fixture
def projects(installed: Node, notebooks: dict[Path, Notebook]) -> Projects:
    if installed.root not in notebooks:
        notebooks[installed.root] = installed.make_notebook()
        installed.install_editable(installed.copy_project("testy"), python=notebooks[installed.root].python)
    return Projects(installed, notebooks[installed.root])


@pytest.fixture
def absent(projects: Projects) -> Iterator[None]:
    """The projects' folder is moved away, and is in its place again for the next test."""
    projects.folder.rename(projects.away)
    yield
    if projects.away.exists():
        projects.away.rename(projects.folder)


@pytest.mark.matrix
@pytest.mark.usefixtures("absent")
def test_imports_once_the_folder_is_there(projects: Projects) -> None:
    asked = projects.notebook.ask(projects.appear())

    assert (asked["absent"], asked["present"]) == (projects.missing, projects.imported)


@pytest.mark.matrix
@pytest.mark.usefixtures("absent")
def test_imports_once_the_folder_is_there_with_databricks_own_hook(projects: Projects, real_hook: Path) -> None:
    provide_hook(projects.node, real_hook)

    asked = projects.notebook.ask(
        place_hook(projects.node, "dbruntime.wsfs_import_hook", "path-hook") + projects.appear()
    )

    assert asked == {
        "absent": projects.missing,
        "present": projects.imported,
        "finders": ["RootFinder", "RootFinder"],  # our path hook comes first
    }


@pytest.mark.matrix
@pytest.mark.usefixtures("absent")
@pytest.mark.oldest_and_newest
def test_import_fails_for_good_without_us(projects: Projects) -> None:
    asked = projects.notebook.ask(projects.appear(patience=1.5), OFF)

    assert asked["absent"] == asked["present"] == projects.missing


@pytest.mark.matrix
@pytest.mark.usefixtures("absent")
def test_absent_root_is_asked_at_once_when_caches_are_invalidated(projects: Projects) -> None:
    asked = projects.notebook.ask(projects.appear(patience=0, then="importlib.invalidate_caches()"))

    assert (asked["absent"], asked["present"]) == (projects.missing, projects.imported)


@pytest.mark.matrix
@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("name", Projects.names)
def test_absent_root_is_asked_at_most_once_a_second(projects: Projects, name: str) -> None:
    """A thousand imports that fail within a second: on a workspace mount, each question is a network call."""
    code = """\
import time
start = time.monotonic()
for i in range(1000):
    try:
        __import__(f"no_such_module_{i}")
    except ModuleNotFoundError:
        pass
print(time.monotonic() - start)
"""
    folder = projects.folder / name
    command = [projects.notebook.python, "-c", code]
    seconds, calls = trace(projects.node, folder, command, projects.notebook.environ)

    by_python_itself = 3  # its path hooks for the zip file that the root may be in, and for the folder
    by_us = 2  # our own path hook for the folder, and the first time that it is asked again
    at_start = count_calls(projects, folder, projects.notebook.python)
    assert 1 <= calls - at_start <= by_python_itself + by_us + float(seconds)


@pytest.mark.parametrize("present", [True, False], ids=["present", "absent"])
def test_start_asks_no_more_of_the_folder_than_site_does(
    projects: Projects,
    request: pytest.FixtureRequest,
    present: bool,  # noqa: FBT001
) -> None:
    if not present:
        request.getfixturevalue("absent")
    opens = {(projects.notebook.python, "testy"), (projects.node.python, "testx")}

    for python in (projects.notebook.python, projects.node.python):
        for name in projects.names:
            folder = projects.folder / name
            with_us, without_us = count_calls(projects, folder, python), count_calls(projects, folder, python, OFF)
            assert with_us <= without_us  # Python asks first whether a root that it searches is a folder
            assert (with_us > 0) == ((python, name) in opens)


def count_calls(projects: Projects, folder: Path, python: Path, environ: Mapping[str, str] | None = None) -> int:
    """Return the number of system calls that name a folder when an interpreter starts."""
    command = [python, "-c", "pass"]
    return trace(projects.node, folder, command, projects.notebook.environ | dict(environ or {}))[1]
