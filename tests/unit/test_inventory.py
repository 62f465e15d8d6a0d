"""What is read from the files of an editable install, and what its description says."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dbx_patch._inventory import (
    EditableInstall,
    EditableInstalls,
    Shadow,
    Style,
    Verification,
    editable_installs,
    find_warnings,
    names_in_finder,
    verify_editable_installs,
)

INSTALL = EditableInstall(
    name="testx",
    version="0.1.0",
    project="/project",
    layer="/env/site-packages",
    pth="/env/site-packages/testx.pth",
    style="path",
    names=("testx",),
    importable=True,
    shadowed_by=None,
    hides=(),
    unreadable=(),
    warnings=(),
)
"""A healthy one."""


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty layer on the path of this process."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


def find_install(name: str) -> EditableInstall:
    """Return one of the editable installs of this process."""
    (found,) = (install for install in editable_installs() if install.name == name)
    return found


@pytest.mark.parametrize(
    ("folder", "style", "name", "warnings"),
    [
        ("/Workspace/Users/x/project", "path", "fine", []),
        ("/.fuse-mounts/wsfs/Users/x/project", "path", "fine", ["path not sent"]),
        ("/.fuse-mounts/wsfs/Users/x/project", "finder", "fine", ["executors lack its finder"]),
        ("/Volumes/a/b/c/project", "path", "fine", []),
        ("/Workspaces/project", "path", "fine", ["driver only"]),
        ("/tmp/project", "path", "fine", ["driver only"]),
        ("/Workspace/project", "finder", "fine", ["executors lack its finder"]),
        ("/Workspace/project", "link tree", "fine", ["links missing"]),
        ("/Workspace/project", "path", "scripts", ["name taken"]),
        ("/Workspace/project", "path", "databricks", ["name taken"]),
    ],
)
def test_install_is_described_and_warned_about_though_its_folder_is_not_there(
    layer: Path, folder: str, style: Style, name: str, warnings: list[str]
) -> None:
    """A workspace folder often is not readable yet."""
    lines = {
        "path": folder,
        "finder": "import __editable___project_1_finder",
        "link tree": f"{folder}/build/__editable__.project-1-py3-none-any",
    }
    (layer / "__editable__.project-1.pth").write_text(lines[style] + "\n")
    if style == "finder":
        (layer / "__editable___project_1_finder.py").write_text(f"MAPPING = {{'{name}': '{folder}/{name}'}}")
    info = layer / "project-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: project\nVersion: 1\n")
    (info / "direct_url.json").write_text(json.dumps({"url": f"file://{folder}", "dir_info": {"editable": True}}))
    (info / "RECORD").write_text("__editable__.project-1.pth,,\n")
    (info / "top_level.txt").write_text(f"{name}\n")

    found = find_install("project")

    assert (found.style, found.project, found.names, found.version) == (style, folder, (name,), "1")
    described = list(find_warnings(style, folder, (name,), [folder] if style == "path" else []))
    assert [caveat for caveat, _ in described] == warnings
    assert found.warnings == tuple(text for _, text in described)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"url": 7}', '{"url": "https://example.com/x"}'])
def test_broken_metadata_does_no_harm(layer: Path, broken: str) -> None:
    (layer / "__editable__.broken.pth").write_text(f"{layer.parent}/nowhere\n")
    info = layer / "broken-x.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"\xff\xfe")
    (info / "RECORD").write_bytes(b"__editable__.broken.pth,,\n")
    (info / "direct_url.json").write_text(broken)

    found = find_install("broken")

    assert (found.importable, found.names) == (False, ())
    assert found.unreadable == (f"{layer.parent}/nowhere: No such file or directory",)


def test_file_that_was_written_by_hand_is_no_editable_install(layer: Path) -> None:
    (layer / "by_hand.pth").write_text(f"{layer.parent}/nowhere\n")

    assert [install for install in editable_installs() if install.layer == str(layer)] == []


def test_folder_of_another_project_in_the_same_namespace_is_no_shadow(layer: Path) -> None:
    """A project that was moved away is not importable, and its finder still names its folder."""
    here, gone = layer.parent / "here", layer.parent / "gone"
    (here / "spaced_out/part").mkdir(parents=True)
    for project in (here, gone):
        (layer / f"__editable__.{project.name}-1.pth").write_text(f"{project}\n")
        info = layer / f"{project.name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {project.name}\nVersion: 1\n")
        (info / "RECORD").write_text(f"__editable__.{project.name}-1.pth,,\n")
        (info / "direct_url.json").write_text(json.dumps({"url": f"file://{project}", "dir_info": {"editable": True}}))
        (info / "top_level.txt").write_text("spaced_out\n")
        sys.path.append(str(project))

    assert find_install("here").importable
    moved = find_install("gone")
    assert (moved.importable, moved.shadowed_by) == (False, None)
    assert moved.unreadable == (f"{gone}: No such file or directory",)


@pytest.mark.parametrize(
    "source",
    [
        "MAPPING: dict[str, str] = {'one': '/src/one', 'two.part': '/src/two/part'}",
        "F.map_module('one', '/src/one.py')\nF.map_module('two', '/src/two.py')",
        "install({'one': '/src/one.py'}, {'two.part': '/build/part.so'}, None, True)",
        "sys.meta_path.insert(0, MesonpyMetaFinder('project', {'one', 'two'}, '/build', []))",
    ],
    ids=["setuptools", "editables", "scikit-build-core", "meson-python"],
)
def test_names_are_read_from_the_finder_of_each_backend(tmp_path: Path, source: str) -> None:
    finder = tmp_path / "finder.py"
    finder.write_text(source)

    assert names_in_finder(finder) == {"one", "two"}


@pytest.mark.parametrize("source", [b"", b"def", b"\0", b"\xff"])
def test_finder_that_can_not_be_read_has_no_names(tmp_path: Path, source: bytes) -> None:
    finder = tmp_path / "finder.py"
    finder.write_bytes(source)

    assert names_in_finder(finder) == set()
    assert names_in_finder(tmp_path / "absent.py") == set()


def test_verification_is_printed_for_people() -> None:
    install = replace(
        INSTALL,
        importable=False,
        shadowed_by=Shadow("/above/testx.py", "/above"),
        hides=(Shadow("/below/testx.py", "/below"),),
        unreadable=("/project/src: Permission denied",),
        warnings=("it is on the driver only",),
    )

    assert str(Verification(ok=False, installs=EditableInstalls((install,)))).splitlines() == [
        "testx 0.1.0 (path): shadowed by /above/testx.py",
        "  project: /project",
        "  installed by: /env/site-packages/testx.pth",
        "  hides: /below/testx.py",
        "  unreadable: /project/src: Permission denied",
        "  warning: it is on the driver only",
    ]
    assert (
        str(Verification(ok=True, installs=EditableInstalls()))
        == "There are no editable installs in the layers on sys.path."
    )


def test_installs_are_a_tuple_that_a_notebook_shows_as_a_table() -> None:
    install = replace(INSTALL, version=None, project=None, pth="/env/site-packages/<testx>.pth")
    installs = EditableInstalls((install,))

    assert (installs, installs[0], list(installs)) == ((install,), install, [install])
    html = installs._repr_html_()
    assert html == Verification(ok=True, installs=installs)._repr_html_() == install._repr_html_()
    assert "&lt;testx&gt;.pth" in html
    assert "<th>project</th>" in html
    assert "<th>folder</th>" not in html  # the column would be empty
    assert pickle.loads(pickle.dumps(installs)) == installs  # our own


def test_file_that_is_refused_is_reported_and_not_taken_for_no_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = tmp_path / "site-packages"
    layer.mkdir()
    (layer / "testx.pth").write_bytes(b"\0")
    monkeypatch.setattr(sys, "path", [str(layer)])

    found = verify_editable_installs()

    assert (found.ok, found.installs) == (False, ())
    assert str(found).startswith(f"not read: {layer}/testx.pth: ")
    assert f"<code>{layer}/testx.pth: " in found._repr_html_()
    assert "no editable installs" not in str(found) + found._repr_html_()
    assert str(editable_installs()) == str(found)
