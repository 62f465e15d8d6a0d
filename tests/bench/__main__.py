"""Measure what dbx-patch costs at Python's start and at imports, on nodes in a temporary folder.

valgrind counts instructions: these ratios are the same on a noisy machine. pyperf and Python's clock take times, as
medians of rounds. The exit code is 1 if a count is over its budget.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.budgets import MOUNT, find_exceeded
from tests.bench.measure import measure
from tests.bench.mount import measure_mount
from tests.bench.report import Report
from tests.bench.scenes import build_node, fetch_packages
from tests.lab.interpreters import find_interpreters
from tests.lab.templates import make_once
from tests.lab.wheels import FetchError, fill_wheelhouse
from tests.lab.workspace import find_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.interpreters import Interpreter


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Measure, print, and write what was asked for; with packages, wheels and templates in a folder for later calls."""
    interpreters = {found.name: found for found in find_interpreters() if not found.debian}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="how often to time (default: %(default)s)")
    parser.add_argument(
        "--python", action="append", choices=interpreters, help="measure this one only; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--no-mount", action="store_true", help="leave out the workspace mount, which takes 2 minutes")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds takes a number above 0")

    if lacking := [tool for tool in ("valgrind", "strace") if not shutil.which(tool)]:
        parser.error(f"this machine lacks {' and '.join(lacking)}")
    chosen = [interpreters[name] for name in dict.fromkeys(arguments.python or interpreters)]
    if not chosen:
        parser.error("no CPython 3.10 to 3.13 that environments can be made from was found")

    try:
        with tempfile.TemporaryDirectory(prefix="dbx-patch-bench-") as own:
            report = measure_each(chosen, arguments.rounds, Path(folder or own).resolve())
            if not arguments.no_mount:
                measure_mounts(report, chosen, Path(folder or own).resolve())
    except FetchError as error:
        parser.error(f"nodes need packages from a package index: {error}")
    if arguments.json:
        arguments.json.write_text(report.to_json())
    print(report.to_table())
    exceeded = [*find_exceeded(report.figures), *find_exceeded(report.mount, MOUNT)]
    print("\n".join(exceeded) or "Every count is within its budget.")
    return 1 if exceeded else 0


def measure_each(interpreters: Sequence[Interpreter], rounds: int, folder: Path) -> Report:
    """Measure one interpreter after the other. Raises FetchError if a package index does not give what that needs."""
    report = Report(name_tools(), rounds)
    progress("fetching what a runtime's layer holds")
    packages = make_once(folder / "packages", fetch_packages)
    wheelhouse = make_once(folder / "wheels", fill_wheelhouse)
    for interpreter in interpreters:
        name = interpreter.name
        report.pythons[name] = ask_version(interpreter.python)
        progress(f"measuring CPython {report.pythons[name]}, {rounds} round{'s' * (rounds > 1)}")
        with tempfile.TemporaryDirectory(prefix="dbx-patch-bench-") as root:
            node = build_node(Path(root).resolve() / "node", interpreter, wheelhouse)
            report.figures[name], report.starts[name] = measure(node, packages, rounds)
    return report


def measure_mounts(report: Report, interpreters: Sequence[Interpreter], folder: Path) -> None:
    """Measure a workspace mount with each interpreter, where the machine can have one."""
    if lacking := find_missing():
        progress(f"leaving out the workspace mount: this machine lacks {lacking}")
        return
    for interpreter in interpreters:
        progress(f"measuring a workspace mount with CPython {report.pythons[interpreter.name]}")
        with tempfile.TemporaryDirectory(prefix="dbx-patch-bench-") as root:
            report.mount[interpreter.name] = measure_mount(Path(root).resolve(), interpreter, folder / "wheels")


def name_tools() -> dict[str, str]:
    """Return the tools that measure, with their versions, and the kind of machine."""
    return {"valgrind": ask_version("valgrind"), "pyperf": version("pyperf"), "on": platform.machine()}


def ask_version(program: str | Path) -> str:
    """Return a program's version, which is the end of what `--version` prints."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return re.split(r"[ -]", printed.strip())[-1]


def progress(text: str) -> None:
    """Print what is measured now."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
