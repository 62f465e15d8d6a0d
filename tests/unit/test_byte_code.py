"""The byte code that the installer caches is what Python itself would cache."""

from __future__ import annotations

import sys
from importlib.util import MAGIC_NUMBER
from typing import TYPE_CHECKING

from dbx_patch.installer._byte_code import is_fresh, name_byte_code, write_byte_code
from dbx_patch.installer.files import Transaction
from tests.unit.test_messages import interpreter

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_byte_code_is_compared_by_time_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SOURCE_DATE_EPOCH, `py_compile` makes a kind that each start would compare by reading the whole source."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    file = tmp_path / "module.py"
    file.write_text("value = 1\n")
    python = interpreter(tmp_path, python=sys.executable, magic=MAGIC_NUMBER)
    with Transaction() as transaction:
        write_byte_code(transaction, python, file)

    assert is_fresh(name_byte_code(file, python), file, python)
