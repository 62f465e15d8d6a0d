"""Record what was installed, so that `--all` can name what it leaves out. Nothing else reads the receipts."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._trust import find_exposed, trusted_uids
from dbx_patch.installer.files import FileState, lock, replace

FORMAT = 1
"""To be raised when an older version could no longer read the file."""


def record(python: str, shim: Path, facts: dict[str, Any]) -> None:
    """Record an installation of a shim. Where that can't be written, do nothing."""
    with contextlib.suppress(OSError, InstallerError):
        receipts = read_receipts(find_file())
        receipt = {"python": os.path.abspath(python), **facts}  # noqa: PTH100  # keeps the link that the user named
        before = receipts.get(str(shim), {})
        if receipt.items() <= before.items():
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        change(str(shim), receipt | {"installed_at": now})


def forget(shim: Path) -> None:
    """Remove the receipt of a shim. With the last receipt the file goes as well."""
    with contextlib.suppress(OSError, InstallerError):
        change(str(shim), None)


def list_receipts() -> dict[Path, Path]:
    """List the shims that have a receipt and still exist, each with the interpreter that it was installed for."""
    try:
        receipts = read_receipts(find_file())
    except (OSError, InstallerError):
        return {}
    pythons = {Path(shim): receipt.get("python") for shim, receipt in receipts.items() if Path(shim).exists()}
    return {shim: Path(python) for shim, python in pythons.items() if isinstance(python, str)}


def find_file() -> Path | None:
    """Return the file with the receipts; None if another user could have written it.

    The environment names its folder (`$XDG_STATE_HOME`, `$HOME`). With `sudo -E` that is another user's home.
    """
    file = Path(platformdirs.user_state_dir("dbx-patch", appauthor=False), "receipts.json")
    existing = next((path for path in (file, *file.parents) if os.path.lexists(path)), file)
    return None if not file.is_absolute() or find_exposed(existing, trusted_uids()) else file


def read_receipts(file: Path | None) -> dict[str, dict[str, Any]]:
    """Return the receipts, by their shim; none if the file is missing or can't be understood.

    Raises InstallerError if a newer version wrote the file: it could lose what this version doesn't know.
    """
    try:
        content = json.loads(file.read_bytes()) if file else {}
        if content["format"] > FORMAT:
            msg = f"A newer version of dbx-patch wrote {file}."
            raise InstallerError(msg)
        return {shim: receipt for shim, receipt in content["installations"].items() if isinstance(receipt, dict)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def change(shim: str, receipt: dict[str, Any] | None) -> None:
    """Add or remove one receipt. Raises OSError or InstallerError if that fails."""
    file = find_file()
    if file is None:
        return
    if receipt:
        for folder in reversed([folder for folder in file.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)  # as the XDG base directory specification asks for
    with lock([file.parent]):
        receipts = {path: known for path, known in read_receipts(file).items() if Path(path).exists()}
        receipts.pop(shim, None)
        if receipt:
            receipts[shim] = receipt
        if receipts:
            content = json.dumps({"format": FORMAT, "installations": receipts}, indent=2)
            replace(file, f"{content}\n".encode(), FileState(file, None))
            return
        file.unlink(missing_ok=True)
    for folder in file.parents[:3]:  # usually `.local/state/dbx-patch`; `rmdir` fails at the first one that is in use
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
