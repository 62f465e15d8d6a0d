"""Editable installs on a workspace's node, and the package that imports are measured with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.lab.projects import SETUPTOOLS, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.workspace import Workspace

PATH_STYLE = 13
"""How many installs of path style the runtime's layer has. The notebook's own layer has one more."""
IN_RUNTIME = [f"package{number}" for number in range(PATH_STYLE)]
"""Their packages."""
FINDERS = ("finder_style", "another_finder_style")
"""The installs that are found by a finder of setuptools, in the runtime's layer."""
OF_NOTEBOOK = "package_of_the_notebook"
MANY = "many_modules"
PACKAGES = 10
MODULES = 30
"""The packages, and the modules of each: 300 files with those of the packages themselves."""


def add_everything(workspace: Workspace) -> None:
    """Add every install to the runtime's layer, and one to the notebook's own."""
    layer = workspace.node.layer(workspace.node.runtime)
    for number, name in enumerate(IN_RUNTIME):
        if number % 2:
            add_hatchling(workspace, layer, f"project-{number}", name)
        else:
            add_setuptools(workspace, layer, name)
    first, second = FINDERS
    for name in FINDERS:
        write_flat(workspace, name)
    workspace.node.install_editable(workspace.node.project(first))
    copy_install(workspace.outside(layer), first, second)
    add_setuptools(workspace, workspace.node.layer(workspace.notebook.environment), OF_NOTEBOOK)
    add_many_modules(workspace, layer)


def copy_install(layer: Path, name: str, other: str) -> None:
    """Write what an install leaves for another project that differs in its name only."""
    for path in [*layer.glob(f"*{name}*"), *layer.glob(f"{name}-*/*")]:
        if path.is_file():
            copied = layer / str(path.relative_to(layer)).replace(name, other)
            copied.parent.mkdir(exist_ok=True)
            copied.write_text(path.read_text().replace(name, other))


def add_setuptools(workspace: Workspace, layer: Path, name: str) -> Path:
    """Write what `pip install -e` of a project of setuptools with a `src` layout leaves; return its root."""
    root = write_project(workspace, name, name)
    files = {f"__editable__.{name}-1.0.pth": f"{root}\n", **describe(name, root, {"top_level.txt": f"{name}\n"})}
    write_files(workspace.outside(layer), files)
    return root


def add_hatchling(workspace: Workspace, layer: Path, project: str, package: str) -> Path:
    """Write what `pip install -e` of a project of hatchling leaves; return its root."""
    root = write_project(workspace, project, package)
    pth = f"_{project.replace('-', '_')}.pth"
    files = {pth: str(root), **describe(project, root, {"RECORD": f"{pth},,\n"})}
    write_files(workspace.outside(layer), files)
    return root


def write_project(workspace: Workspace, project: str, package: str) -> Path:
    """Write a project with one package and two modules past the mount; return its root."""
    root = workspace.node.project(project) / "src"
    files = {"__init__.py": "", "first.py": "VALUE = 1\n", "second.py": "VALUE = 2\n"}
    write_files(workspace.outside(root / package), files)
    return root


def describe(project: str, root: Path, more: dict[str, str]) -> dict[str, str]:
    """Return the metadata of an editable install."""
    folder = f"{project.replace('-', '_')}-1.0.dist-info"
    url = {"dir_info": {"editable": True}, "url": f"file://{root.parent}"}
    files = {
        "METADATA": f"Metadata-Version: 2.4\nName: {project}\nVersion: 1.0\n",
        "INSTALLER": "pip\n",
        "direct_url.json": json.dumps(url),
        "RECORD": "",
        **more,
    }
    return {f"{folder}/{name}": text for name, text in files.items()}


def write_flat(workspace: Workspace, name: str) -> None:
    """Write a project of setuptools whose folder holds its package, as projects without `src` do."""
    system = f'requires = ["{SETUPTOOLS.requires}"]\nbuild-backend = "{SETUPTOOLS.module}"\n'
    files = {
        f"{name}/__init__.py": "",
        f"{name}/first.py": "VALUE = 1\n",
        f"{name}/second.py": "VALUE = 2\n",
        "pyproject.toml": f'[build-system]\n{system}[project]\nname = "{name}"\nversion = "1.0"\n',
    }
    write_files(workspace.outside(workspace.node.project(name)), files)


def add_many_modules(workspace: Workspace, layer: Path) -> Path:
    """Add the package that imports are measured with; return its root."""
    root = workspace.node.project(MANY) / "src"
    files = {f"{MANY}/__init__.py": ""}
    for package in range(PACKAGES):
        files[f"{MANY}/package{package}/__init__.py"] = ""
        for module in range(MODULES):
            text = f"def function(value):\n    return value + {module}\n\n\nNUMBER = function({package})\n"
            files[f"{MANY}/package{package}/module{module}.py"] = text
    write_files(workspace.outside(root), files)
    made = {f"__editable__.{MANY}-1.0.pth": f"{root}\n", **describe(MANY, root, {"top_level.txt": f"{MANY}\n"})}
    write_files(workspace.outside(layer), made)
    return root


IMPORT_MANY = f"""\
import importlib
for package in range({PACKAGES}):
    for module in range({MODULES}):
        importlib.import_module(f"{MANY}.package{{package}}.module{{module}}")
"""
"""Imports all of them."""
