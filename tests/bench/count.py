"""Counts instructions, which are the same on a noisy machine, and times whole commands."""

from __future__ import annotations

import json
import re
import statistics
import sys
import uuid
from typing import TYPE_CHECKING

from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.lab.node import Node

CACHED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONHASHSEED": "0"}
"""The environment in which byte code is cached, and each start is the same."""


def count_instructions(node: Node, command: Sequence[object], environ: Mapping[str, str] | None = None) -> int:
    """Return the instructions that valgrind counts for a command, with its byte code cached."""
    environment = dict(environ or {}) | CACHED
    node.run(command, environment)
    counter = [require("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = node.run([*counter, *command], environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise AssertionError(done.stderr)
    return int(found[1])


def time_command(node: Node, command: Sequence[object], environ: Mapping[str, str] | None = None) -> float:
    """Return how long a command takes with its byte code cached: pyperf's median of seven runs, in seconds."""
    file = node.root / f"pyperf-{uuid.uuid4()}.json"
    environment = dict(environ or {}) | CACHED
    inherited = f"--inherit-environ={','.join(node.environ() | environment)}"
    few = ["--quiet", "--processes=1", "--values=7", "--warmups=1", "--loops=1", inherited, "--output", file]
    node.run([sys.executable, "-m", "pyperf", "command", *few, "--", *command], environment)
    runs = json.loads(file.read_text())["benchmarks"][0]["runs"]
    file.unlink()
    return float(statistics.median(value for run in runs for value in run.get("values", [])))
