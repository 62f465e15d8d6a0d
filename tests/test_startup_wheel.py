"""The start-up wheel, installed into environments: it starts the shim, breaks nothing, and leaves nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dbx_patch import __version__
from dbx_patch.installer import write_startup_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.node import Node

LIVE = "import json, sys; print(json.dumps(getattr(sys.modules.get('dbx_patch_sitecustomize'), 'started', False)))"
STARTUP = "dbx_patch_startup"


def make_environment(node: Node, *options: str) -> Path:
    """Make an environment that has pip's rights and nothing else; return its Python."""
    environment = node.root / "environment"
    node.run([node.base, "-m", "venv", "--without-pip", *options, environment])
    return environment / "bin/python"


def list_tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def is_live(node: Node, python: Path) -> bool:
    """Return whether the shim is live in an interpreter that starts without a word."""
    done = node.run([python, "-c", LIVE])
    assert done.stderr == ""
    return bool(json.loads(done.stdout))


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_install_starts_the_shim_and_uninstall_leaves_nothing(node: Node, installer: str) -> None:
    python = make_environment(node)
    layer = node.layer(python.parents[1])
    layer.joinpath("kept.txt").touch()  # pip removes a folder that it has emptied
    before = list_tree(python.parents[1])
    wheel = write_startup_wheel(node.root / "wheels")
    requirements = node.root / "requirements.txt"
    requirements.write_text(f"{wheel.path} --hash=sha256:{wheel.sha256}\n")
    cached = {"PYTHONDONTWRITEBYTECODE": ""}
    uv = [sys.executable, "-m", "uv", "pip"]
    own = {"UV_CACHE_DIR": f"{node.root}/uv"}
    if installer == "pip":
        node.pip("install", "--quiet", "--no-deps", "--require-hashes", "-r", requirements, python=python)
    else:
        options = ["--offline", "--quiet", "--no-deps", "--require-hashes", "--python", python]
        node.run([*uv, "install", *options, "-r", requirements], own)

    assert is_live(node, python)
    node.run([python, "-c", "pass"], cached)  # writes byte code
    assert {path.name for path in layer.iterdir()} == {
        "kept.txt",
        "dbx_patch",
        next(path.name for path in layer.glob("*.dist-info")),
        STARTUP,
        f"{STARTUP}.start",
        f"zzz_{STARTUP}.pth",
    }

    if installer == "pip":
        node.pip("uninstall", "--quiet", "--yes", "dbx-patch", python=python)
    else:
        node.run([*uv, "uninstall", "--quiet", "--python", python, "dbx-patch"], own)

    assert not is_live(node, python)
    assert [name for name in list_tree(python.parents[1]) if name != ".lock"] == before  # the lock is uv's


def find_shim(layer: Path) -> Path:
    return layer / STARTUP / "dbx_patch_sitecustomize.py"


def remove_parts(layer: Path) -> None:
    for part in layer.glob(f"{STARTUP}/*_????????.py"):
        part.unlink()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS: dict[str, Callable[[Path], object]] = {
    "no package": lambda layer: shutil.rmtree(layer / STARTUP),
    "no shim": lambda layer: find_shim(layer).unlink(),
    "no parts": remove_parts,
    "an empty shim": lambda layer: find_shim(layer).write_text(""),
    "half a shim": lambda layer: find_shim(layer).write_bytes(find_shim(layer).read_bytes()[:5000]),
    "a shim that exits": lambda layer: find_shim(layer).write_text("raise SystemExit(3)\n"),
    "a shim that is interrupted": lambda layer: find_shim(layer).write_text("raise KeyboardInterrupt\n"),
    "a shim that is no text": lambda layer: find_shim(layer).write_bytes(b"\xff\0"),
    "a folder instead of the shim": lambda layer: replace_by_folder(find_shim(layer)),
}


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_both_ways_give_one_live_shim_and_status_reports_which(node: Node) -> None:
    """The installer's, of another version, and the wheel's, in the environment that both are for."""
    node.install_dbx_patch()
    node.install_shim()
    layer = node.layer(node.runtime)
    for file in layer.glob("dbx_patch_sitecustomize*.py"):
        file.write_text(file.read_text().replace(f"{__version__!r}", "'0.1.9'"))
    node.pip("install", "--quiet", "--no-deps", write_startup_wheel(node.root).path)
    code = "import sys; shim = sys.modules['dbx_patch_sitecustomize']; print(shim.VERSION, len(shim.layers) > 0)"

    assert node.run([node.python, "-c", code]).stdout.split() == [__version__, "True"]
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    printed = node.dbx_patch("dbx_patch", "status").stdout

    assert (status["live"], status["slot"], status["version"]) == (True, 4, __version__)
    assert status["file"] == f"{layer}/{STARTUP}/dbx_patch_sitecustomize.py"
    assert status["others"] == [f"{layer.resolve()}/dbx_patch_sitecustomize.py (dbx-patch 0.1.9)"]
    assert f"  {status['others'][0]}\n" in printed
    assert "The first shim that Python comes to runs alone" in printed
    uninstalled = node.dbx_patch("dbx_patch.uninstall")
    assert uninstalled.returncode == 0
    assert "`pip uninstall dbx-patch`" in uninstalled.stdout
    assert is_live(node, node.python)


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_broken_install_says_nothing(node: Node) -> None:
    python = make_environment(node)
    layer = node.layer(python.parents[1])
    node.pip("install", "--quiet", "--no-deps", write_startup_wheel(node.root).path, python=python)
    (layer / "an_install.pth").write_text("/a/root\n")  # so that a part is needed
    shutil.rmtree(layer / STARTUP / "__pycache__")
    kept = node.root / "kept"
    shutil.copytree(layer / STARTUP, kept)

    for name, break_it in BREAKS.items():
        break_it(layer)
        done = node.run([python, "-c", "print('started')"], check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("started\n", "", 0), name
        shutil.rmtree(layer / STARTUP, ignore_errors=True)
        shutil.copytree(kept, layer / STARTUP)
    assert is_live(node, python)


@pytest.mark.matrix
@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_plain_wheel_starts_nothing(node: Node) -> None:
    python = make_environment(node)
    node.pip("install", "--quiet", "dbx-patch", python=python)

    assert list(node.layer(python.parents[1]).glob("*.pth")) == []
    assert not is_live(node, python)


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_editable_installs_of_the_environment_below_are_importable(installed: Node, tmp_path: Path) -> None:
    """The node's runtime has `testx`; the notebook's user lists the wheel, and has no other rights."""
    node = installed
    notebook = node.make_notebook()
    node.pip("install", "--quiet", "--no-deps", write_startup_wheel(tmp_path).path, python=notebook.python)
    code = "import sys, testx; print(sys.modules['dbx_patch_sitecustomize'].__spec__.origin)"

    done = notebook.run(code, check=True)

    assert done.stdout.strip() == f"{node.layer(notebook.environment)}/{STARTUP}/dbx_patch_sitecustomize.py"
    assert done.stderr == ""


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_isolated_build_sees_no_root(installed: Node, tmp_path: Path) -> None:
    """pip takes the layers off the path in an interpreter that has started. A root leaves the path with its layer."""
    node = installed
    notebook = node.make_notebook()
    node.pip("install", "--quiet", "--no-deps", write_startup_wheel(tmp_path).path, python=notebook.python)
    project, answer = tmp_path / "project", tmp_path / "answer.json"
    project.mkdir()
    project.joinpath("pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "a_backend"\nbackend-path = ["."]\n'
    )
    project.joinpath("a_backend.py").write_text(f"""
import json, sys
def get_requires_for_build_wheel(config=None):
    try:
        import testx
    except ImportError as error:
        found = str(error)
    else:
        found = testx.__file__
    roots = [entry for entry in sys.path if "testx" in entry]
    live = sys.modules["dbx_patch_sitecustomize"].started
    with open({str(answer)!r}, "w") as file:
        json.dump(dict(live=live, roots=roots, found=found), file)
    return []
""")

    notebook.run("import testx", check=True)
    command = [node.python, "-m", "pip", "--python", notebook.python, "wheel", "--quiet", "--no-index", project]
    node.run(command, notebook.environ | {"PYTHONPATH": ""}, check=False)  # it builds no wheel

    assert json.loads(answer.read_text()) == {"live": True, "roots": [], "found": "No module named 'testx'"}
