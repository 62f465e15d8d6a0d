"""Editable installs by every build backend and installer are honored, side by side on one node."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.node import OFF, Node, Notebook
from tests.lab.projects import (
    BY_MATURIN,
    FILES,
    PROJECTS,
    VERSION,
    Backends,
    Project,
    install_projects,
    write_files,
)
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = [
    pytest.mark.core,
    pytest.mark.matrix,
    pytest.mark.oldest_and_newest,
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
]
QUESTIONS = """\
import importlib, json, sys
from importlib import metadata, resources
def describe(package, name):
    try:
        names = [package, package + ".module", package + ".sub", package + ".sub.module"]
        modules = [importlib.import_module(name) for name in names]
        return {
            "files": [module.__file__ for module in modules],
            "value": modules[-1].VALUE,
            "data": resources.files(package).joinpath("data.txt").read_text(),
            "version": metadata.version(name),
        }
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
def describe_all(packages):
    return {name: describe(package, name) for name, package in packages.items()}
"""
PACKAGES = {project.name: project.package for project in PROJECTS}
DESCRIBE = f"{QUESTIONS}print(json.dumps(describe_all({PACKAGES!r})))"
RUNNING = f"{QUESTIONS}print('ready', flush=True)\nsys.stdin.read()\nprint(json.dumps(describe_all({PACKAGES!r})))"


@dataclass(frozen=True)
class Furnished:
    """A notebook on a node with dbx-patch, where every project is editable in the runtime's layer."""

    notebook: Notebook
    imported_later: dict[str, Any]
    """How an interpreter that was started before the installs described each project."""


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
    node.install_shim()
    notebook = node.make_notebook()
    command = [str(notebook.python), "-c", RUNNING]
    environ, pipe = node.environ() | notebook.environ, subprocess.PIPE
    with subprocess.Popen(command, env=environ, cwd=root, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        install_projects(node, backends)
        printed, _ = running.communicate("", timeout=300)
    # `uv sync` has removed the package and what it needs; the shim has stayed. Only pip knows what is missing now.
    node.pip("install", "--quiet", "dbx-patch")
    yield Furnished(notebook, json.loads(printed))
    shutil.rmtree(root)


@pytest.fixture
def notebook(furnished: Furnished) -> Notebook:
    return furnished.notebook


def describe_right(node: Node, value: str = "as written") -> dict[str, Any]:
    """Return how each project is described if everything works."""
    return {
        project.name: {
            "files": [str(project.imported_from(node) / name) for name in FILES if name.endswith(".py")],
            "value": value,
            "data": FILES["data.txt"],
            "version": VERSION,
        }
        for project in PROJECTS
    }


def test_notebook_imports_all_of_every_project_from_its_own_folder(notebook: Notebook) -> None:
    done = notebook.run(DESCRIBE, check=True)

    assert json.loads(done.stdout) == describe_right(notebook.node)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "project", [pytest.param(p, id=p.name + (" (stand-in)" if p is BY_MATURIN else "")) for p in PROJECTS]
)
def test_notebook_imports_a_project_alone(notebook: Notebook, project: Project) -> None:
    """No project works only because another one has been imported before it."""
    packages = {project.name: project.package}

    asked = notebook.ask(f"{QUESTIONS}print(json.dumps(describe_all({packages!r})))")

    assert asked == {project.name: describe_right(notebook.node)[project.name]}


def test_two_backends_write_start_files_from_python_3_15_on(notebook: Notebook) -> None:
    """They name the function that installs the finder (PEP 829), for which a `.pth` file has an import line before."""
    node = notebook.node
    found = {file.name: file.read_text("utf-8-sig") for file in node.layer(node.runtime).glob("*.start")}

    of_finders = {
        "_editable_skbc_scikit_build_inplace.start": "_editable_skbc_scikit_build_inplace:entrypoint",
        "_editable_skbc_scikit_build_redirect.start": "_editable_skbc_scikit_build_redirect:entrypoint",
        "meson-rebuild-editable.start": "_meson_rebuild_editable_loader:init",
    }
    assert found == (of_finders if node.interpreter.minor >= 15 else {})  # until 3.14 is dropped: there are none


def test_notebook_imports_none_of_them_without_us(notebook: Notebook) -> None:
    missing = {
        project.name: f"ModuleNotFoundError: No module named '{project.package.partition('.')[0]}'"
        for project in PROJECTS
    }

    assert notebook.ask(DESCRIBE, OFF) == missing


def test_interpreter_that_is_running_imports_the_same(furnished: Furnished) -> None:
    assert furnished.imported_later == describe_right(furnished.notebook.node)


def test_runtime_whose_site_opens_the_layer_imports_the_same(notebook: Notebook) -> None:
    node = notebook.node

    done = node.run([node.python, "-c", DESCRIBE])

    assert json.loads(done.stdout) == describe_right(node)
    assert done.stderr == ""


def test_inventory_knows_every_project(notebook: Notebook) -> None:
    code = "import dataclasses, dbx_patch, json\n"
    code += "print(json.dumps([dataclasses.asdict(install) for install in dbx_patch.editable_installs()]))"
    node = notebook.node
    named = ("version", "project", "layer", "names", "importable", "shadowed_by")

    installs = notebook.ask(code)

    found = [(install["name"], {name: install[name] for name in named}) for install in installs]
    assert sorted(name for name, _ in found) == sorted(PACKAGES)  # each of them once
    assert dict(found) == {
        project.name: {
            "version": VERSION,
            "project": str(project.folder(node)),
            "layer": notebook.layers[2],
            "names": [project.package.partition(".")[0]],
            "importable": True,
            "shadowed_by": None,
        }
        for project in PROJECTS
    }


def test_edits_are_what_the_next_interpreter_runs(notebook: Notebook) -> None:
    node = notebook.node
    modules = [project.package_folder(node) / "sub/module.py" for project in PROJECTS]

    for module in modules:
        module.write_text("VALUE = 'edited'\n")
    asked = notebook.ask(DESCRIBE)
    for module in modules:
        module.write_text(FILES["sub/module.py"])

    assert asked == describe_right(node, "edited")


def test_editable_projects_win_over_copies_in_a_lower_layer_and_lose_to_copies_above(notebook: Notebook) -> None:
    code = f"""
import importlib, json
files = {{}}
for name, package in {PACKAGES!r}.items():
    files[name] = [importlib.import_module(module).__file__ for module in (package, package + ".module")]
print(json.dumps(files))
"""

    def list_files(folder: Path) -> list[str]:
        return [f"{folder}/__init__.py", f"{folder}/module.py"]

    lower, higher = Path(notebook.layers[3]), Path(notebook.layers[1])
    found = {}
    for name, layer in {"copies below": lower, "copies below and above": higher}.items():
        for project in PROJECTS:
            write_files(Path(layer, *project.package.split(".")), FILES)
        found[name] = notebook.ask(code)
    for layer in (lower, higher):
        for top in {project.package.partition(".")[0] for project in PROJECTS}:
            shutil.rmtree(layer / top)

    own = {project.name: list_files(project.imported_from(notebook.node)) for project in PROJECTS}
    below, above = (
        {project.name: list_files(Path(layer, *project.package.split("."))) for project in PROJECTS}
        for layer in (lower, higher)
    )
    # For a submodule, a finder answers where it does without us: setuptools' last, the others' first.
    assert found == {
        "copies below": own | {"namespace-flat": below["namespace-flat"]},
        "copies below and above": above
        | {"scikit-build-redirect": own["scikit-build-redirect"]}
        | {"meson-rebuild": [above["meson-rebuild"][0], own["meson-rebuild"][1]]},
    }


def test_projects_that_are_absent_at_start_are_imported_once_they_are_there(notebook: Notebook) -> None:
    folder = notebook.node.workspace
    away = folder.with_name("away")

    folder.rename(away)
    asked = notebook.ask(f"import os; os.rename({str(away)!r}, {str(folder)!r})\n{DESCRIBE}")

    assert asked == describe_right(notebook.node)


def test_start_asks_nothing_of_the_projects(notebook: Notebook) -> None:
    node = notebook.node
    (own,) = [project for project in PROJECTS if project.name == "scikit-build-redirect"]

    asked, asked_by_its_own_finder = (
        trace(node, folder, [notebook.python, "-c", "pass"], notebook.environ)[1]
        for folder in (node.workspace, own.folder(node))
    )

    # scikit-build-core's finder looks for each package of its project when it is created, with the shim or without it.
    assert asked == asked_by_its_own_finder == 2
