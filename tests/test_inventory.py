"""What `editable_installs()` and `verify_editable_installs()` tell a person."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

DRIVER_LOCAL = "{} is on the driver alone, and executors can't import it: move it below /Workspace or /Volumes"
LIST = """
import dataclasses, json
from dbx_patch import editable_installs
print(json.dumps({install.name: dataclasses.asdict(install) for install in editable_installs()}))
"""


def inventory(notebook: Notebook, before: str = "", environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """List the editable installs in a notebook, by their names."""
    return dict(json.loads(notebook.run(before + LIST, environ, check=True).stdout))


@pytest.fixture
def notebook(installed: Node) -> Notebook:
    return installed.make_notebook()


@pytest.fixture
def copy(notebook: Notebook) -> Iterator[Path]:
    """A regular copy of the sample package in the cluster's libraries, above the editable one."""
    folder = Path(notebook.layers[1], "testx")
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    yield folder
    shutil.rmtree(folder)


def test_install_is_told_with_all_that_there_is_to_know(notebook: Notebook) -> None:
    project = notebook.node.project("testx")

    assert inventory(notebook)["testx"] == {
        "name": "testx",
        "version": "0.1.0",
        "project": str(project),
        "layer": notebook.layers[2],
        "pth": f"{notebook.layers[2]}/__editable__.testx-0.1.0.pth",
        "style": "path",
        "names": ["testx"],
        "importable": True,
        "shadowed_by": None,
        "hides": [],
        "unreadable": [],
        "warnings": [
            DRIVER_LOCAL.format(project),
        ],
    }


def test_install_that_is_not_honored_is_not_importable(notebook: Notebook) -> None:
    found = inventory(notebook, environ=OFF)["testx"]

    assert (found["importable"], found["shadowed_by"]) == (False, None)


def test_shadow_is_told_with_its_layer(notebook: Notebook, copy: Path) -> None:
    found = inventory(notebook)["testx"]

    assert found["importable"] is False
    assert found["shadowed_by"] == {"path": f"{copy}/__init__.py", "layer": notebook.layers[1]}


def test_shadow_in_no_layer_is_told_by_its_path(notebook: Notebook) -> None:
    module = notebook.node.root / "databricks/driver/testx.py"
    module.write_text("")
    try:
        found = inventory(notebook)["testx"]
    finally:
        module.unlink()

    assert found["shadowed_by"] == {"path": str(module), "layer": None}


def test_module_that_was_imported_before_shadows_the_install(notebook: Notebook) -> None:
    old = notebook.node.root / "old"
    (old / "testx").mkdir(parents=True)
    (old / "testx/__init__.py").write_text("")

    found = inventory(notebook, f"import sys; sys.path.insert(0, {str(old)!r}); import testx; del sys.path[0]")["testx"]

    assert found["shadowed_by"] == {"path": f"{old}/testx/__init__.py", "layer": None}


def test_nothing_is_imported(notebook: Notebook) -> None:
    trap = notebook.node.project("testx") / "src/testx/__init__.py"
    text = trap.read_text()
    trap.write_text("raise SystemExit('imported')")
    try:
        assert inventory(notebook)["testx"]["importable"] is True
    finally:
        trap.write_text(text)


@pytest.mark.parametrize(
    ("folder", "style", "name", "warned"),
    [
        ("/Workspace/Users/x/project", "path", "fine", []),
        ("/.fuse-mounts/wsfs/Users/x/project", "path", "fine", []),
        ("/Volumes/a/b/c/project", "path", "fine", []),
        ("/Workspaces/project", "path", "fine", ["on the driver alone"]),
        ("/tmp/project", "path", "fine", ["on the driver alone"]),
        ("/Workspace/project", "finder", "fine", ["executors do not get its finder"]),
        ("/Workspace/project", "link tree", "fine", ["a mount without links"]),
        ("/Workspace/project", "path", "scripts", ["uses the top-level name scripts"]),
        ("/Workspace/project", "path", "databricks", ["uses the top-level name databricks"]),
    ],
)
def test_traps_are_marked(notebook: Notebook, folder: str, style: str, name: str, warned: list[str]) -> None:
    """The project need not be there for that: a workspace folder often is not, yet."""
    layer = Path(notebook.layers[0])
    paths = {"path": folder, "finder": "", "link tree": f"{folder}/build/__editable__.project-1-py3-none-any"}
    if style == "finder":
        layer.joinpath("__editable___project_1_finder.py").write_text(f"MAPPING = {{'{name}': '{folder}/{name}'}}")
    line = paths[style] or "import __editable___project_1_finder"
    layer.joinpath("__editable__.project-1.pth").write_text(line + "\n")
    info = layer / "project-1.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: project\nVersion: 1\n")
    info.joinpath("direct_url.json").write_text(json.dumps({"url": f"file://{folder}", "dir_info": {"editable": True}}))
    info.joinpath("RECORD").write_text("__editable__.project-1.pth,,\n")
    info.joinpath("top_level.txt").write_text(f"{name}\n")

    found = inventory(notebook)["project"]

    assert (found["style"], found["project"], found["names"]) == (style, folder, [name])
    assert len(found["warnings"]) == len(warned)
    assert all(part in warning for part, warning in zip(warned, found["warnings"], strict=True))


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"url": 7}', '{"url": "https://example.com/x"}'])
def test_broken_metadata_does_no_harm(notebook: Notebook, broken: str) -> None:
    layer = Path(notebook.layers[0])
    layer.joinpath("broken.pth").write_text(f"{notebook.node.root}/nowhere\n")
    info = layer / "broken-x.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_bytes(b"\xff\xfe")
    info.joinpath("RECORD").write_bytes(b"broken.pth,,\n")
    info.joinpath("direct_url.json").write_text(broken)

    found = inventory(notebook)["broken"]

    assert (found["importable"], found["names"]) == (False, [])


def test_verification_prints_what_a_person_needs(notebook: Notebook, copy: Path) -> None:
    code = "import dbx_patch; found = dbx_patch.verify_editable_installs(); print(found.ok); print(found)"

    lines = notebook.run(code, check=True).stdout.splitlines()

    project = notebook.node.project("testx")
    assert lines == [
        "False",
        f"testx 0.1.0 (path): shadowed by {copy}/__init__.py",
        f"  project: {project}",
        f"  installed by: {notebook.layers[2]}/__editable__.testx-0.1.0.pth",
        f"  warning: {DRIVER_LOCAL.format(project)}",
    ]
