"""What is recognized as a Databricks node. tests/workspace/ has one at `/`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dbx_patch.installer._node import find_node
from tests.lab.missing import need_root


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)


def make_runtime(root: Path, name: str = "python3") -> Path:
    """Make the folders of a runtime's environment below a root; return the environment."""
    python = root / "databricks" / name / "bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python.parent.parent


@pytest.mark.parametrize("name", ["python", "python3"])
def test_environments_below_the_root_of_a_runtime_are_on_its_node(tmp_path: Path, name: str) -> None:
    runtime = make_runtime(tmp_path, name)
    notebook = tmp_path / "local_disk0/.ephemeral_nfs/envs/pythonEnv-1"

    assert [find_node(prefix) for prefix in (runtime, notebook, tmp_path / "usr")] == [tmp_path] * 3
    assert find_node(tmp_path.parent) is None


def test_folder_named_databricks_makes_no_node(tmp_path: Path) -> None:
    for name in ("databricks/project/.venv", "databricks/python/src", "databricks/.venv"):
        (tmp_path / name).mkdir(parents=True)
        assert find_node(tmp_path / name) is None


def test_variable_that_a_cluster_sets_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_node(tmp_path) is None
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
    assert find_node(tmp_path) == Path("/")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "")
    assert find_node(tmp_path) is None


def test_folders_that_another_user_could_have_made_are_no_node(tmp_path: Path) -> None:
    """Otherwise root would extend, and run, a `sitecustomize` that is in them."""
    runtime = make_runtime(tmp_path)
    tmp_path.chmod(0o777)
    assert find_node(runtime) is None
    tmp_path.chmod(0o755)
    assert find_node(runtime) == tmp_path
    (tmp_path / "databricks").chmod(0o777)
    assert find_node(runtime) is None


def test_folders_of_another_user_are_no_node(tmp_path: Path) -> None:
    need_root("give a folder away")
    runtime = make_runtime(tmp_path)
    os.chown(tmp_path / "databricks", 1234, 1234)

    assert find_node(runtime) is None
