"""Editable installs by every build backend and installer are honored, side by side on one node."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import missing
from tests.lab.node import OFF, Node, Notebook
from tests.lab.projects import (
    BY_MATURIN,
    FILES,
    PROJECTS,
    VERSION,
    Backends,
    Project,
    fetch_backends,
    install_projects,
    write_files,
)
from tests.lab.trace import trace
from tests.lab.wheels import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
each_project = pytest.mark.parametrize(
    "project", [pytest.param(p, id=p.name + (" (stand-in)" if p is BY_MATURIN else "")) for p in PROJECTS]
)

IMPORT = """\
import json
from importlib import metadata, resources
import {package}, {package}.module, {package}.sub.module
modules = {package}, {package}.module, {package}.sub, {package}.sub.module
data = resources.files({package}).joinpath("data.txt").read_text()
print(json.dumps([[module.__file__ for module in modules], data, metadata.version("{name}")]))
"""

RUNNING = """\
import contextlib, io, json, sys, traceback
print("ready", flush=True)
printed = {}
for name, cell in json.load(sys.stdin).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            exec(cell, {})
        except BaseException:
            print(traceback.format_exc())
    printed[name] = output.getvalue()
print(json.dumps(printed))
"""


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Backends:
    """Every build backend, and uv."""
    try:
        return fetch_backends(tmp_path_factory.mktemp("backends"))
    except FetchError as error:
        missing(f"the wheels of the build backends: {error}")


@dataclass(frozen=True)
class Furnished:
    """A notebook on a node with dbx-patch, where the runtime's layer has all of the projects."""

    notebook: Notebook
    imported_later: dict[str, str]
    """What the import of each project printed in an interpreter that had started before the installs."""


@pytest.fixture(scope="session")
def furnished(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    backends: Backends,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Furnished]:
    root = tmp_path_factory.mktemp("backends-node").resolve() / "node"
    node = Node(root, interpreter, wheelhouse, sitecustomize=sitecustomize).build()
    node.install_dbx_patch()
    done = node.dbx_patch("dbx_patch.install")
    assert done.returncode == 0, done.stderr
    notebook = node.make_notebook()
    command = [str(notebook.python), "-c", RUNNING]
    environ, pipe = node.environ() | notebook.environ, subprocess.PIPE
    with subprocess.Popen(command, env=environ, cwd=root, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        install_projects(node, backends)
        cells = {project.name: IMPORT.format(package=project.package, name=project.name) for project in PROJECTS}
        printed, _ = running.communicate(json.dumps(cells), timeout=300)
    node.install_dbx_patch()  # `uv sync` has taken the package away; the shim has stayed
    yield Furnished(notebook, json.loads(printed))
    shutil.rmtree(root)


@pytest.fixture
def notebook(furnished: Furnished) -> Notebook:
    return furnished.notebook


def facts(project: Project, node: Node) -> str:
    """What the import of a project prints where everything is right."""
    modules = [str(project.imported_from(node) / name) for name in FILES if name.endswith(".py")]
    return json.dumps([modules, FILES["data.txt"], VERSION])


@each_project
def test_notebook_imports_all_of_an_editable_project_from_its_own_folder(notebook: Notebook, project: Project) -> None:
    code = IMPORT.format(package=project.package, name=project.name)

    done = notebook.run(code)
    without_us = notebook.run(code, OFF)

    assert (done.stdout.strip(), done.stderr) == (facts(project, notebook.node), "")
    top = project.package.partition(".")[0]
    assert without_us.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named '{top}'"


@each_project
def test_interpreter_that_runs_already_imports_the_same(furnished: Furnished, project: Project) -> None:
    assert furnished.imported_later[project.name].strip() == facts(project, furnished.notebook.node)


@each_project
def test_runtime_whose_site_opens_the_layer_itself_imports_the_same(notebook: Notebook, project: Project) -> None:
    node = notebook.node

    done = node.run([node.python, "-c", IMPORT.format(package=project.package, name=project.name)])

    assert (done.stdout.strip(), done.stderr) == (facts(project, node), "")


@each_project
def test_inventory_knows_the_project(notebook: Notebook, project: Project) -> None:
    code = (
        "import dataclasses as d, dbx_patch, json; print(json.dumps([*map(d.asdict, dbx_patch.editable_installs())]))"
    )
    node = notebook.node

    installs = json.loads(notebook.run(code, check=True).stdout)

    (found,) = [install for install in installs if install["name"] == project.name]
    assert found["version"] == (None if project is BY_MATURIN else VERSION)
    assert found["project"] == str(project.folder(node))
    assert found["layer"] == notebook.layers[2]
    assert found["names"] == [project.package.partition(".")[0]]
    assert (found["importable"], found["shadowed_by"]) == (True, None)


@each_project
def test_edit_is_what_the_next_interpreter_runs(notebook: Notebook, project: Project) -> None:
    module = project.package_folder(notebook.node) / "sub/module.py"

    module.write_text("VALUE = 'edited'\n")
    done = notebook.run(f"import {project.package}.sub.module as m; print(m.VALUE)")
    module.write_text(FILES["sub/module.py"])

    assert done.stdout.strip() == "edited"


@each_project
def test_editable_project_wins_over_a_copy_in_a_lower_layer_and_loses_to_one_above(
    notebook: Notebook, project: Project
) -> None:
    code = f"import {project.package}.module; print({project.package}.__file__, {project.package}.module.__file__)"
    mine = project.imported_from(notebook.node)
    lower, higher = (Path(notebook.layers[at], *project.package.split(".")) for at in (3, 1))

    found = []
    for copy in (lower, higher):
        write_files(copy, FILES)
        found.append(notebook.run(code).stdout.split())
    for at in (3, 1):
        shutil.rmtree(Path(notebook.layers[at], project.package.partition(".")[0]))

    assert found == [[f"{folder}/__init__.py", f"{folder}/module.py"] for folder in (mine, higher)]


@each_project
def test_project_that_is_not_there_yet_at_start_is_imported_when_it_is(notebook: Notebook, project: Project) -> None:
    folder = project.folder(notebook.node)
    hidden = folder.with_name(f"{project.name}-hidden")
    appear = f"import os; os.rename({str(hidden)!r}, {str(folder)!r})\n"

    folder.rename(hidden)
    done = notebook.run(appear + IMPORT.format(package=project.package, name=project.name))

    assert (done.stdout.strip(), done.stderr) == (facts(project, notebook.node), "")


def test_start_asks_nothing_of_the_projects(notebook: Notebook) -> None:
    node = notebook.node
    (own,) = [project for project in PROJECTS if project.name == "scikit-build-redirect"]

    asked, asked_by_its_own_finder = (
        trace(node, folder, [notebook.python, "-c", "pass"], notebook.environ)[1]
        for folder in (node.workspace, own.folder(node))
    )

    # As it is made, scikit-build-core's finder looks for each package of its project, whoever runs its line.
    assert asked == asked_by_its_own_finder == 2
