"""What a fingerprint keeps of a path, a name or a type, and which paths it reads."""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
from pathlib import Path
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from dbx_patch._fingerprint import _facts, _redact
from dbx_patch._fingerprint._redact import match, may_touch, redact, redact_module, redact_name, redact_type


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a node's `/databricks`, `/usr` and `/Workspace`."""
    for name in ("databricks", "usr", "Workspace"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(_redact, "ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root folder of a cluster."""
    monkeypatch.setattr(_redact, "ROOT", "")


# Paths

PATHS = {
    "/databricks/python3/lib/python3.12/site-packages": "/databricks/python3/lib/python3.12/site-packages",
    "/usr/lib/python312.zip": "/usr/lib/python312.zip",
    "/databricks/spark/python/lib/py4j-0.10.9.7-src.zip": "/databricks/spark/python/lib/py4j-0.10.9.7-src.zip",
    "/databricks/jars/spark--driver.jar": "/databricks/jars/<redacted>.jar",
    "/databricks/driver/secretproject/src": "/databricks/driver/<redacted>",
    "/databricks/python3.secret": "/databricks/<redacted>",
    "/local_disk0/.ephemeral_nfs/envs/pythonEnv-secret/lib": "/local_disk0/.ephemeral_nfs/envs/pythonEnv-<uuid>/lib",
    "/Workspace/Users/somebody@example.com/lib/python3.12/site-packages": "/Workspace/<redacted>",
    "/Volumes/main/default/secret": "/Volumes/<redacted>",
    "/home/somebody": "/home/<redacted>",
    "/Workspace": "/Workspace",
    "/secretproject": "/<redacted>",
    "/secretproject/site-packages": "/<redacted>",
    "//Workspace/a": "/Workspace/<redacted>",
    "/": "/",
    "": "",
    "secretproject/relative": "<relative>",
    "https://adb-42.azuredatabricks.net": "<relative>",
    "__editable__.secretproject-1.0.finder.__path_hook__": "__editable__.*.finder.__path_hook__",
}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("path", PATHS)
def test_path_keeps_only_the_parts_of_a_runtime(path: str) -> None:
    assert redact(path) == PATHS[path]


@pytest.mark.usefixtures("cluster")
def test_what_is_not_a_string_has_no_path() -> None:
    class Text(str):
        __slots__ = ()

        def startswith(self, *_: object) -> bool:
            raise RuntimeError

    assert [redact(None), redact(7), redact(b"/usr")] == [None, None, None]
    assert redact(Text("/usr/lib")) == "/usr/lib"


def test_folder_of_a_node_in_a_test_is_left_out(node: Path) -> None:
    assert redact(f"{node}/databricks/driver") == "/databricks/driver"


def test_only_the_node_s_own_disk_may_be_touched(node: Path) -> None:
    (node / "databricks/to_mount").symlink_to("../Workspace/Users")
    (node / "databricks/to_root_mount").symlink_to("/Workspace")
    (node / "databricks/to_disk").symlink_to(node / "usr")
    (node / "databricks/circle").symlink_to("circle")

    def list_allowed(*paths: str) -> list[str]:
        return [path for path in paths if may_touch(f"{node}{path}")]

    own = ("/databricks/driver", "/usr/lib/absent", "/databricks/to_disk/lib", "/databricks/../usr", "/")
    assert list_allowed(*own) == list(own)
    mounted = ("/Workspace/a", "/databricks/to_mount", "/databricks/to_mount/x", "/usr/../Workspace")
    assert list_allowed(*mounted, "/databricks/to_root_mount", "/home/x", "/databricks/circle") == []
    absolute = ("/Workspace", "/Volumes/a", "/dbfs", "/.fuse-mounts/wsfs", "//Workspace/a", "", ".", "relative")
    assert [path for path in absolute if may_touch(path)] == []


def test_no_mount_is_asked_where_a_link_leads(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (node / "databricks/to_mount").symlink_to("../Workspace/Users")
    asked: list[str] = []
    readlink = Path.readlink

    def note(path: Path) -> Path:
        asked.append(str(path))
        return readlink(path)

    monkeypatch.setattr(Path, "readlink", note)

    assert not may_touch(f"{node}/databricks/to_mount/x")
    assert f"{node}/databricks/to_mount" in asked
    assert [path for path in asked if "Workspace" in path] == []


def test_only_regular_files_of_a_sensible_length_are_read(node: Path) -> None:
    folder = node / "databricks"
    (folder / "good.py").write_bytes(b"\xff\0")
    (folder / "long.py").write_bytes(b"#" * (_facts.SIZE_LIMIT + 1))
    os.mkfifo(folder / "pipe.py")
    (folder / "to_mount.py").symlink_to(node / "Workspace/secret.py")
    (node / "Workspace/secret.py").write_bytes(b"secret")

    names = ("good.py", "long.py", "pipe.py", "to_mount.py", "absent.py", "", "\0")
    assert {name: _facts.read(f"{folder}/{name}") for name in names if _facts.read(f"{folder}/{name}")} == {
        "good.py": b"\xff\0"
    }


# Names and types


def test_value_that_has_not_the_known_form_is_redacted() -> None:
    runtimes = ("16.4.x-photon-scala2.12", "client.3.1", "16.4.x\n", "dapi0123", 7)

    assert [match(_facts.RUNTIME, value) for value in runtimes] == [*runtimes[:2], *["<redacted>"] * 3]
    assert match(_facts.RUNTIME, None) is None


def test_name_with_many_digits_is_redacted() -> None:
    names = ("find_spec", "utf8_v2", "dapi0123456789abcdef", "a b", "x" * 81, None)

    assert [redact_name(name) for name in names] == ["find_spec", "utf8_v2", *["<redacted>"] * 4]


def test_module_is_named_if_its_package_is_known() -> None:
    assert redact_module("importlib.machinery") == "importlib.machinery"
    assert redact_module("dbruntime.wsfs_import_hook") == "dbruntime.wsfs_import_hook"
    assert redact_module("__editable___secretproject_1_0_finder") == "__editable___*_finder"
    assert redact_module("secretproject.json") == redact_module(None) == redact_module("os.dapi0123456789") == "<other>"


def test_type_is_named_if_its_module_really_has_it() -> None:
    def make(name: str, module: str) -> Any:
        return type(name, (), {"__module__": module, "__repr__": lambda _: "dapi-secret"})

    assert redact_type(importlib.machinery.PathFinder) == "_frozen_importlib_external.PathFinder"
    assert redact_type(json.JSONDecoder()) == "json.decoder.JSONDecoder"
    assert redact_type(MethodType(json.loads, 1)) == "json.loads"
    assert redact_type(SimpleNamespace()) == "types.SimpleNamespace"
    assert redact_type(make("Secret", "json")()) == redact_type(make("Secret", "secretproject")) == "<other>"
    assert redact_type(make("JSONDecoder", "json.decoder")) == "<other>"
    finder = "__editable___secretproject_finder"
    assert redact_type(make("_EditableFinder", finder)) == "__editable___*_finder._EditableFinder"
    assert redact_type(make("Secret", finder)) == "__editable___*_finder.<other>"


def test_module_of_a_user_does_not_vouch_for_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mlflow")
    module.__file__ = "/Workspace/Users/somebody/mlflow.py"
    vars(module)["Secret"] = type("Secret", (), {"__module__": "mlflow"})
    monkeypatch.setitem(sys.modules, "mlflow", module)

    assert redact_type(vars(module)["Secret"]) == "<other>"


def test_error_is_named_by_its_type_and_its_text_is_left_out() -> None:
    def fail(error: Exception) -> None:
        raise error

    own = type("SecretError", (Exception,), {})
    assert _facts.describe_or_error(fail, OSError("/Workspace/secret")) == {"error": "OSError"}
    assert _facts.describe_or_error(fail, own("secret")) == {"error": "<other>"}
