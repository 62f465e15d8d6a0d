"""The cache of byte code that `uninstall` removes: where it is, and when it is left alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dbx_patch.installer._cache import find_cache, remove_cache
from tests.lab.disks import immutable
from tests.lab.missing import need_root


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/home/a"}, "/x/dbx-patch/byte-code"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/dbx-patch/byte-code"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/home/a"}, "/home/a/.cache/dbx-patch/byte-code"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/a"}, "/home/a/.cache/dbx-patch/byte-code"),
        ({"HOME": "/home/a"}, "/home/a/.cache/dbx-patch/byte-code"),
        ({"HOME": "/Workspace/Users/a"}, None),
        ({"XDG_CACHE_HOME": "/Volumes", "HOME": "/home/a"}, None),
        ({"XDG_CACHE_HOME": "x"}, None),
        ({"HOME": ""}, None),
        ({"HOME": "a"}, None),
        ({}, None),
    ],
)
def test_place_of_the_cache(environ: dict[str, str], folder: str | None) -> None:
    assert find_cache(environ) == (folder and Path(folder))


@pytest.mark.parametrize(("home", "chosen"), [("{}", "{}/x"), ("{}", "x"), ("{}", ""), ("x", "{}/x"), ("x", "")])
def test_it_is_the_place_that_the_shim_uses(
    shim: Any, home: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home.format(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", chosen.format(tmp_path))

    used = shim.load("cache").find_cache(os.geteuid())

    assert (used or None) == (str(find_cache()) if find_cache() else None)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one file in it, and a link that leads out of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept.pyc").touch()
    module = tmp_path / ".cache/dbx-patch/byte-code/Workspace/src/a.cpython-312.pyc"
    module.parent.mkdir(parents=True)
    module.touch()
    (module.parent / "link").symlink_to(tmp_path / "outside")
    return tmp_path / ".cache/dbx-patch/byte-code"


def list_all(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_cache_is_removed_with_its_folder_and_no_link_is_followed(cache: Path, tmp_path: Path) -> None:
    before = list_all(tmp_path)
    assert remove_cache(cache, dry_run=True) == (str(cache), "")
    assert list_all(tmp_path) == before

    assert remove_cache(cache, dry_run=False) == (str(cache), "")

    assert list_all(tmp_path) == [".cache", "outside", "outside/kept.pyc"]
    assert remove_cache(cache, dry_run=False) == (None, "")
    assert remove_cache(None, dry_run=False) == (None, "")


def test_folder_with_receipts_stays(cache: Path) -> None:
    (cache.parent / "receipts.json").touch()

    assert remove_cache(cache, dry_run=False) == (str(cache), "")

    assert list_all(cache.parent) == ["receipts.json"]


@pytest.mark.parametrize("at", ["byte-code", "dbx-patch"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_link_in_the_place_of_a_folder_is_left_alone(cache: Path, tmp_path: Path, at: str, *, dry_run: bool) -> None:
    folder = cache if at == "byte-code" else cache.parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = list_all(tmp_path)

    found, kept = remove_cache(cache, dry_run=dry_run)

    assert (found, kept.splitlines()[0]) == (str(cache), "It is not a folder, or is reached by a link.")
    assert list_all(tmp_path) == before


def test_file_in_the_place_of_the_cache_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "byte-code").touch()

    assert remove_cache(tmp_path / "byte-code", dry_run=False)[1]

    assert list_all(tmp_path) == ["byte-code"]


def test_cache_that_others_could_have_exchanged_is_left_alone(cache: Path, tmp_path: Path) -> None:
    (tmp_path / ".cache").chmod(0o777)

    _, kept = remove_cache(cache, dry_run=False)

    assert kept == f"Other users can modify {tmp_path}/.cache.\nFix: run `rm -r {cache}`."
    assert cache.exists()


def test_cache_of_another_user_is_left_alone(cache: Path) -> None:
    """As with `sudo -E`, where the home folder is that of the user who runs it."""
    need_root("give a folder away")
    os.chown(cache, 1234, 1234)

    assert remove_cache(cache, dry_run=False) == (str(cache), "It belongs to another user.")

    assert cache.exists()


def test_failure_is_a_sentence_with_a_fix(cache: Path) -> None:
    file = cache / "Workspace/src/a.cpython-312.pyc"
    with immutable(file):
        found, kept = remove_cache(cache, dry_run=False)

    assert found == str(cache)
    assert kept.splitlines() == [f"{file.name}: Operation not permitted.", f"Fix: run `rm -r {cache}`."]
    assert file.exists()
