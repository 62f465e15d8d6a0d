"""Counts what a process asks of a folder, with strace: on a cluster each such call is a remote one."""

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
    """Run a command; return its output, and the number of system calls, of whatever kind, that name a folder."""
    log = node.root / f"strace-{uuid.uuid4()}.log"
    strace = [require("strace"), "-f", "-qq", "-s", "500", "-o", log]
    done = node.run([*strace, *command], environ)
    # To read a `.pth` file or to print is to see the name as well; that asks nothing of the folder.
    said = (" read(", " write(", " execve(")
    calls = [line for line in log.read_text().splitlines() if str(folder) in line and not any(x in line for x in said)]
    log.unlink()
    return done.stdout, len(calls)


def require(tool: str) -> str:
    """Find a program that a test runs."""
    return shutil.which(tool) or missing(tool)
