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


@contextlib.contextmanager
def disk_in_memory(folder: Path, options: str) -> Iterator[None]:
    """Mount a disk in memory on a folder, with options such as `size=64k`, and unmount it at the end."""
    folder.mkdir(exist_ok=True)
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine lacks the right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[None]:
    """Make a file or folder a mount of its own, and unmount it at the end."""
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", path, path], check=False).returncode:
        pytest.skip("this machine lacks the right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Make a file or folder immutable, and mutable again at the end."""
    if os.geteuid() != 0 or subprocess.run([require("chattr"), "+i", path], check=False).returncode:
        pytest.skip("this machine lacks a disk with immutable files")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
