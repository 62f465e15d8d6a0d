"""A project's folder that is absent when the interpreter starts, as workspace folders are (databricks/cli#1619)."""

from __future__ import annotations

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

COMES_BACK = """\
import os, time
def attempt():
    try:
        from {name} import function1
    except ModuleNotFoundError as error:
        return str(error)
    return function1()
print(attempt())
os.rename({away!r}, {here!r})
deadline = time.monotonic() + {patience}
while attempt().startswith("No module") and time.monotonic() < deadline:
    time.sleep(0.01)
print(attempt())
"""


class Absentee:
    """A project that is installed editable, and the notebook that is to import it."""

    def __init__(self, node: Node, notebook: Notebook, name: str) -> None:
        self.node = node
        self.notebook = notebook
        self.name = name
        self.folder = node.project(name)
        self.away = node.root / "away"

    def comes_back(self, patience: float = 30) -> str:
        """Write code that fails to import it, puts it back, and imports it again and again for some seconds."""
        return COMES_BACK.format(name=self.name, away=str(self.away), here=str(self.folder), patience=patience)

    @property
    def outcome(self) -> list[str]:
        """What that prints where it works."""
        return [f"No module named '{self.name}'", f"function1 of {self.folder}/src/{self.name}/functions.py"]


@pytest.fixture(params=["own-layer", "lower-layer"])
def project(request: pytest.FixtureRequest, installed: Node, notebooks: dict[str, Notebook]) -> Absentee:
    """A project, editable in the notebook's own layer, which `site` opens, or in the runtime's, which it does not."""
    key = str(installed.root)
    if key not in notebooks:
        notebooks[key] = installed.make_notebook()
        installed.install_editable(installed.copy_project("testy"), python=notebooks[key].python)
    return Absentee(installed, notebooks[key], "testy" if request.param == "own-layer" else "testx")


@pytest.fixture(scope="session")
def notebooks() -> dict[str, Notebook]:
    """Each shared node's notebook with `testy` in its own layer."""
    return {}


@pytest.fixture
def absent(project: Absentee) -> Iterator[None]:
    """Have the project's folder moved away, and put back for the next test."""
    project.folder.rename(project.away)
    yield
    if project.away.exists():
        project.away.rename(project.folder)


@pytest.mark.usefixtures("absent")
def test_imports_once_the_folder_is_back(project: Absentee) -> None:
    done = project.notebook.run(project.comes_back(), check=True)

    assert done.stdout.splitlines() == project.outcome
    assert done.stderr == ""


@pytest.mark.usefixtures("absent")
def test_imports_once_the_folder_is_back_behind_the_real_hook(project: Absentee, real_hook: Path) -> None:
    provide_hook(project.node, real_hook)
    code = place_hook(project.node, "dbruntime.wsfs_import_hook", "path-hook") + project.comes_back()
    code += f"print(type(sys.path_importer_cache['{project.folder}/src']).__name__)"

    done = project.notebook.run(code, check=True)

    assert done.stdout.splitlines() == [*project.outcome, "WsfsImportHook"]


@pytest.mark.usefixtures("absent")
def test_is_lost_for_good_without_us(project: Absentee) -> None:
    done = project.notebook.run(project.comes_back(patience=2), OFF, check=True)

    assert done.stdout.splitlines() == [project.outcome[0]] * 2


@pytest.mark.usefixtures("absent")
def test_absent_root_is_asked_at_once_when_caches_are_invalidated(project: Absentee) -> None:
    code = project.comes_back(patience=0).replace("deadline =", "import importlib; importlib.invalidate_caches(); d =")
    code = code.replace("< deadline", "< d")

    assert project.notebook.run(code, check=True).stdout.splitlines() == project.outcome


@pytest.mark.usefixtures("absent")
def test_absent_root_is_asked_at_most_once_a_second(project: Absentee) -> None:
    """A thousand imports that fail within a second: each question to a workspace mount is a network call."""
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
    command = [project.notebook.python, "-c", code]
    seconds, calls = trace(project.node, project.folder, command, project.notebook.environ)

    by_python_itself = 3  # its path hooks for the zip file that the root may lie in, and for the folder
    by_us = 2  # our own path hook for the folder, and the first time that it is asked again
    assert 1 <= calls - at_start(project) <= by_python_itself + by_us + float(seconds)


@pytest.mark.parametrize("present", [True, False], ids=["present", "absent"])
def test_start_asks_no_more_of_the_folder_than_site_does(
    project: Absentee,
    request: pytest.FixtureRequest,
    present: bool,  # noqa: FBT001
) -> None:
    if not present:
        request.getfixturevalue("absent")

    for python in (project.notebook.python, project.node.python):
        with_us, without_us = at_start(project, python), at_start(project, python, OFF)
        assert with_us == without_us
        opens_the_layer = (python == project.notebook.python) == (project.name == "testy")
        assert (with_us > 0) == opens_the_layer


def at_start(project: Absentee, python: Path | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Count the system calls that name the project's folder when an interpreter starts."""
    command = [python or project.notebook.python, "-c", "pass"]
    return trace(project.node, project.folder, command, project.notebook.environ | dict(environ or {}))[1]
