"""The order of the changes of an install: whenever a Python starts, the shim that it reads has all its parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from dbx_patch.installer import _changes
from dbx_patch.installer._places import Place, Slot
from dbx_patch.installer.files import Transaction, read
from dbx_patch.installer.shim_files import list_parts, read_stamp
from dbx_patch.sitecustomize_template import PARTS, SHIM
from tests.unit.test_messages import interpreter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUILD = re.compile("^BUILD = '(.*)'$", re.MULTILINE)


def list_unfit(shim: Path) -> list[str]:
    """List the parts that an installed shim loads and that are missing, or differ from what was written."""
    build = BUILD.search((read(shim) or b"").decode())
    stamps = {part.name: read_stamp(read(part)) for part in list_parts(shim, build[1])} if build else {}
    return [name for name, found in stamps.items() if found is None or found.edited]


def test_at_every_moment_of_an_upgrade_the_shim_has_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change_a_part: Callable[[], None]
) -> None:
    """A start reads the shim and then its parts. Without them it would have no editable install for all its life."""
    place = Place(Slot.OWN, tmp_path / SHIM, tmp_path / "sitecustomize.py")
    moments: list[tuple[bool, list[str]]] = []

    def watch(change: str) -> None:
        original = getattr(Transaction, change)

        def make_change(self: Transaction, path: Path, *more: object, **named: object) -> None:
            original(self, path, *more, **named)
            moments.append((place.loader.exists(), list_unfit(place.shim)))

        monkeypatch.setattr(Transaction, change, make_change)

    for change in ("write", "remove"):
        watch(change)
    monkeypatch.setattr(_changes, "write_byte_code", lambda *_: None)  # it starts an interpreter

    for builds in (1, 2):
        if builds == 2:
            change_a_part()
        with Transaction() as transaction:
            _changes.install_into(transaction, interpreter(tmp_path), place)
            kept = len(list(tmp_path.glob("dbx_patch_sitecustomize_*.py")))
            _changes.remove_other_parts(transaction, place)
        assert kept == builds * len(PARTS)  # until the proof has succeeded
        assert len(list(tmp_path.glob("dbx_patch_sitecustomize_*.py"))) == len(PARTS)

    assert len(moments) == 2 + 1 + 3 * len(PARTS)  # the loader is written once, and the first parts are removed
    assert [unfit for _, unfit in moments if unfit] == []
    assert [loaded for loaded, _ in moments].index(True) == len(PARTS) + 1  # the loader is written last
