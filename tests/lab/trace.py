"""Counts the system calls that name a folder, with strace. On a workspace mount, each is a remote call."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

from tests.lab.missing import missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.lab.node import Node


def trace(node: Node, folder: Path, command: Sequence[object], environ: Mapping[str, str]) -> tuple[str, int]:
    """Run a command; return its output, and the number of system calls of any kind that name a folder."""
    log = node.root / f"strace-{uuid.uuid4()}.log"
    strace = [require("strace"), "-f", "-qq", "-s", "500", "-o", log]
    done = node.run([*strace, *command], environ)
    # Reading a `.pth` file and printing mention the name too, but ask the folder nothing.
    other = (" read(", " write(", " execve(")
    calls = [line for line in log.read_text().splitlines() if str(folder) in line and not any(x in line for x in other)]
    log.unlink()
    return done.stdout, len(calls)


def require(tool: str) -> str:
    """Return the path of a program; skip the test if the machine lacks it."""
    return shutil.which(tool) or missing(tool)
