"""Editable installs by older releases of the build backends, which name their finders in other ways."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import missing
from tests.lab.projects import FOR_ALL, HATCHLING, PURE, SCIKIT_BUILD, Project
from tests.lab.wheels import FetchError, pip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Notebook

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.oldest_and_newest,
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
]


@dataclass(frozen=True)
class Old:
    """An older release: what is fetched from the package index, a project, and the name of its finder's module."""

    wheels: tuple[str, ...]
    project: Project
    module: str


NEEDED = (
    "exceptiongroup",
    "packaging",
    "pathspec",
    "tomli",
    "typing-extensions",
)  # until 3.10 is dropped: three of them
MAPPED = PURE + 'wheel.packages = { "old_mapped" = "code/old_mapped" }\n'
EXACT = "[tool.hatch.build]\ndev-mode-exact = true\n"
OLD = {
    "scikit-build-core 0.8": Old(
        ("scikit-build-core==0.8.*", "pyproject-metadata==0.7.*", *NEEDED),
        Project("old-skbc", SCIKIT_BUILD, PURE),
        "_old_skbc_editable",
    ),
    "scikit-build-core 0.12": Old(
        ("scikit-build-core==0.12.*", *NEEDED),
        Project("old-mapped", SCIKIT_BUILD, MAPPED, mapped="code/old_mapped"),
        "_old_mapped_editable",
    ),
    "editables 0.2": Old(
        ("editables==0.2", "hatchling==1.18.*", "pluggy", "trove-classifiers", *NEEDED),
        Project("oldexact", HATCHLING, EXACT),  # 0.2 writes a line that Python can't read if the name has a hyphen
        "_oldexact",
    ),
}


@pytest.mark.parametrize("old", OLD.values(), ids=OLD)
def test_finder_of_an_older_release_is_run(notebook: Notebook, old: Old, tmp_path: Path) -> None:
    node = notebook.node
    try:
        pip("install", "--quiet", "--no-deps", *FOR_ALL, "--no-compile", "--target", tmp_path / "backend", *old.wheels)
    except FetchError as error:
        missing(f"the wheels of an older build backend: {error}")
    project = old.project
    project.write(node)
    code = f"""
import importlib, json, dbx_patch_sitecustomize as shim
names = [{project.package!r} + name for name in ("", ".module", ".sub.module")]
print(json.dumps({{
    "files": [importlib.import_module(name).__file__ for name in names],
    "honored": [event[1] for event in shim.journal if event[0] == "finder honored"],
}}))
"""
    command = [node.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    try:
        node.run([*command, "-e", project.folder(node)], {"PYTHONPATH": str(tmp_path / "backend")})
        (pth,) = [
            file.name
            for file in node.layer(node.runtime).glob("*.pth")
            if f"import {old.module}" in file.read_text().splitlines()
        ]
        asked = notebook.ask(code)
    finally:
        node.pip("uninstall", "--quiet", "--yes", project.name)
        shutil.rmtree(project.folder(node))

    folder = project.package_folder(node)
    assert asked == {
        "files": [f"{folder}/{name}.py" for name in ("__init__", "module", "sub/module")],
        "honored": [f"{notebook.layers[2]}/{pth}"],
    }
