"""An installed shim of another version, for tests of upgrades."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbx_patch.installer.shim_files import fill, find_parts
from dbx_patch.sitecustomize_template import SHIM

if TYPE_CHECKING:
    from pathlib import Path

BUILD = "_00000000"
"""The end of the names of that version's parts."""


def make_older(layer: Path, version: str = "0.0.1") -> None:
    """Make the shim that is installed in a layer another version's, with the same code.

    Its byte code is removed. If all this takes less than a second, Python could not tell that it is the former one's.
    """
    for part in find_parts(layer / SHIM):
        part.rename(part.with_stem(part.stem.rpartition("_")[0] + BUILD))
    shim = layer / SHIM
    shim.write_bytes(fill(shim.read_text(), {"VERSION": version, "BUILD": BUILD}))
    for byte_code in layer.glob(f"__pycache__/{shim.stem}*.pyc"):
        byte_code.unlink()
