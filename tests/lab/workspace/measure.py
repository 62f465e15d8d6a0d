"""Measures imports from the mount: the calls that reach it, and the time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.node import OFF
from tests.lab.workspace.console import Console
from tests.lab.workspace.editables import IMPORT_MANY, MANY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.workspace import Workspace

UNRELATED = "import subprocess, pickle, asyncio"
MISSING = """\
try:
    import a_missing_name
except ModuleNotFoundError:
    pass
"""
"""Looks for a module that is not there."""
CACHED = 1.0
"""Seconds for which the kernel keeps answers: what libfuse has by default."""


@dataclass(frozen=True)
class Cost:
    """What something cost."""

    calls: int
    seconds: float


def measure_code(workspace: Workspace, code: str, latency: float, environ: Mapping[str, str] | None = None) -> Cost:
    """Run code in a started interpreter of a notebook, on a new mount."""
    mount = workspace.remount(cached=CACHED)
    with Console(workspace, environ) as console:
        console.run("import time")
        mount.latency(latency)
        mark = mount.mark()
        timed = f"started = time.perf_counter()\n{code}\nanswer = time.perf_counter() - started"
        return Cost(seconds=console.run(timed, timeout=600), calls=len(mount.calls(mark)))


def measure_many_modules(workspace: Workspace, latency: float, *, shim: bool) -> tuple[Cost, Cost]:
    """Import the package of many modules for the first time, and then with its byte code cached.

    Without the shim, its root is put on the path, and Python writes the byte code to the mount.
    """
    forget_byte_code(workspace)
    root = workspace.node.project(MANY) / "src"
    code = IMPORT_MANY if shim else f"import sys\nsys.path.append({str(root)!r})\n{IMPORT_MANY}"
    first, cached = (measure_code(workspace, code, latency, {} if shim else OFF) for _ in range(2))
    forget_byte_code(workspace)
    return first, cached


def forget_byte_code(workspace: Workspace) -> None:
    """Remove all byte code of what is on the mount."""
    for folder in [*workspace.files.rglob("__pycache__")]:
        shutil.rmtree(folder)
    workspace.run(["rm", "-rf", *(f"{home}/.cache/dbx-patch" for home in ("/root", "/home/one", "/home/two"))])
