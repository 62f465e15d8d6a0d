"""Receipts: what was installed is remembered in the user's folder, and nothing is left there in the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbx_patch.installer import _receipts

FACTS = {"version": "0.2.0"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the receipts, which is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home/state"))
    return tmp_path / "home/state/dbx-patch/receipts.json"


def make_shim(folder: Path, name: str = "shim") -> Path:
    """Make a file that stands for a shim."""
    shim = folder / f"{name}.py"
    shim.touch()
    return shim


def test_receipt_is_listed_until_the_shim_is_gone_or_forgotten(file: Path, tmp_path: Path) -> None:
    first, second = make_shim(tmp_path, "first"), make_shim(tmp_path, "second")
    assert _receipts.list_receipts() == {}

    _receipts.record("/a/python", first, FACTS)
    _receipts.record("/another/python", second, FACTS)
    assert _receipts.list_receipts() == {first: Path("/a/python"), second: Path("/another/python")}
    assert file.parent.stat().st_mode & 0o777 == 0o700
    first.unlink()
    assert _receipts.list_receipts() == {second: Path("/another/python")}
    _receipts.forget(second)

    assert not file.parent.exists()  # with the last one


def test_folder_that_something_else_uses_stays(file: Path, tmp_path: Path) -> None:
    shim = make_shim(tmp_path)
    _receipts.record("/a/python", shim, FACTS)
    other = file.parents[1] / "other"
    other.touch()

    _receipts.forget(shim)

    assert [*file.parents[1].iterdir()] == [other]


def test_same_install_changes_no_byte_and_another_does(file: Path, tmp_path: Path) -> None:
    shim = make_shim(tmp_path)
    _receipts.record("/a/python", shim, FACTS)
    content = json.loads(file.read_bytes())
    content["installations"][str(shim)]["installed_at"] = "then"
    file.write_text(json.dumps(content))

    _receipts.record("/a/python", shim, FACTS)
    assert json.loads(file.read_bytes()) == content
    _receipts.record("/a/python", shim, {"version": "0.3.0"})
    assert json.loads(file.read_bytes())["installations"][str(shim)]["version"] == "0.3.0"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "one"}', '{"format": 1, "installations": []}'])
def test_file_that_is_damaged_is_written_anew(file: Path, tmp_path: Path, text: str) -> None:
    shim = make_shim(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert _receipts.list_receipts() == {}

    _receipts.record("/a/python", shim, FACTS)

    assert _receipts.list_receipts() == {shim: Path("/a/python")}


def test_file_of_a_newer_version_is_left_alone(file: Path, tmp_path: Path) -> None:
    shim = make_shim(tmp_path)
    newer = json.dumps({"format": _receipts.FORMAT + 1, "installations": {str(shim): {"python": "/a/python"}}})
    file.parent.mkdir(parents=True)
    file.write_text(newer)

    _receipts.record("/a/python", shim, FACTS)
    _receipts.forget(shim)

    assert file.read_text() == newer
    assert _receipts.list_receipts() == {}


def test_folder_that_others_can_write_is_not_used(file: Path, tmp_path: Path) -> None:
    """With `sudo -E`, the environment names another user's home."""
    file.parent.mkdir(parents=True)
    file.parent.chmod(0o777)

    _receipts.record("/a/python", make_shim(tmp_path), FACTS)

    assert [*file.parent.iterdir()] == []
    assert _receipts.list_receipts() == {}
