"""Small disks, mounts and immutable files, made by the kernel for the time of a test.

A container may lack the rights to make them. Then the test is skipped, and the suite names it at the end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def disk_in_memory(folder: Path, options: str) -> contextlib.AbstractContextManager[None]:
    """Mount a disk in memory on a folder, with options such as `size=64k`, and unmount it at the end."""
    folder.mkdir(exist_ok=True)
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
    return done_and_undone(mount, ["umount", folder], "the right to mount a disk")


def mounted(path: Path) -> contextlib.AbstractContextManager[None]:
    """Make a file or folder a mount of its own, and unmount it at the end."""
    return done_and_undone(["mount", "--bind", path, path], ["umount", path], "the right to mount a disk")


def immutable(path: Path) -> contextlib.AbstractContextManager[None]:
    """Make a file or folder immutable, and mutable again at the end."""
    return done_and_undone([require("chattr"), "+i", path], ["chattr", "-i", path], "a disk with immutable files")


@contextlib.contextmanager
def done_and_undone(command: list[str | Path], undo: list[str | Path], needed: str) -> Iterator[None]:
    """Run a command as root, and undo it at the end. If it fails, the machine lacks what is needed: skip the test."""
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip(f"this machine lacks {needed}")
    try:
        yield
    finally:
        subprocess.run(undo, check=True)
