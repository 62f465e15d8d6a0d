"""Remembers what was installed, so that `--all` finds it again. Nothing depends on it: no receipt, no harm."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs
from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._trust import find_exposed, own
from dbx_patch.installer.files import Before, lock, replace

FORMAT = 1
"""Raised when an older version could no longer read the file."""


def record(python: str, shim: Path, facts: dict[str, Any]) -> None:
    """Note an installation of a shim, or not, where that can't be written."""
    with contextlib.suppress(OSError, InstallerError):
        receipts = read_receipts(find_file())
        receipt = {"python": os.path.abspath(python), **facts}  # noqa: PTH100  # a link is what the person named
        before = receipts.get(str(shim), {})
        if receipt.items() <= before.items():
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        change(str(shim), receipt | {"installed_at": now})


def forget(shim: Path) -> None:
    """Remove the receipt of a shim, and the file with the last one."""
    with contextlib.suppress(OSError, InstallerError):
        change(str(shim), None)


def list_receipts() -> list[Path]:
    """List the interpreters that something was installed for."""
    try:
        pythons = [receipt.get("python") for receipt in read_receipts(find_file()).values()]
    except (OSError, InstallerError):
        return []
    return [Path(python) for python in pythons if isinstance(python, str)]


def find_file() -> Path | None:
    """Find where receipts lie; None if somebody else could put something there.

    The environment names the place (`$XDG_STATE_HOME`, `$HOME`), and may be another user's.
    """
    file = Path(platformdirs.user_state_dir("dbx-patch", appauthor=False), "receipts.json")
    there = next((path for path in (file, *file.parents) if os.path.lexists(path)), file)
    return None if not file.is_absolute() or find_exposed(there, own()) else file


def read_receipts(file: Path | None) -> dict[str, dict[str, Any]]:
    """Read the receipts, by the shim that each is of; none where there are none, or not to be understood.

    Raises InstallerError if a newer version wrote them, which needs what this one does not know.
    """
    try:
        content = json.loads(file.read_bytes()) if file else {}
        if content["format"] > FORMAT:
            msg = f"{file} is of a newer version."
            raise InstallerError(msg)
        return {shim: receipt for shim, receipt in content["installations"].items() if isinstance(receipt, dict)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def change(shim: str, receipt: dict[str, Any] | None) -> None:
    """Add or remove one receipt. Raises OSError or InstallerError if that can't be done."""
    file = find_file()
    if file is None:
        return
    if receipt:
        for folder in reversed([folder for folder in file.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)
    with lock([file.parent]):
        receipts = {path: known for path, known in read_receipts(file).items() if Path(path).exists()}
        receipts.pop(shim, None)
        if receipt:
            receipts[shim] = receipt
        if receipts:
            content = json.dumps({"format": FORMAT, "installations": receipts}, indent=2)
            replace(file, f"{content}\n".encode(), Before(file, None))
            return
        file.unlink(missing_ok=True)
    for folder in file.parents[:3]:  # as a rule `dbx-patch` in `state` in `.local`, as far as they are empty
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
