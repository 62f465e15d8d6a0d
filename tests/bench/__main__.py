"""Measures what dbx-patch costs the starts and the imports of Python, on nodes that are made for it.

Instructions are counted by valgrind: ratios that are the same on a noisy machine. Times are taken by pyperf and by
Python's clock, as medians of rounds in which everything has its turn. The exit code is 1 if a count is over its budget.
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

from tests.bench.budgets import find_exceeded
from tests.bench.chart import draw
from tests.bench.measure import measure
from tests.bench.report import Report
from tests.bench.scenes import build_node, fetch_packages
from tests.lab.interpreters import find_interpreters
from tests.lab.wheels import FetchError, fill_wheelhouse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.interpreters import Interpreter


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for."""
    interpreters = {found.name: found for found in find_interpreters() if not found.debian}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="how often to time (default: %(default)s)")
    parser.add_argument(
        "--python", action="append", choices=interpreters, help="measure this one only; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the starts, as SVG")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds takes a number above 0")

    if lacking := [tool for tool in ("valgrind", "strace") if not shutil.which(tool)]:
        parser.error(f"this machine lacks {' and '.join(lacking)}")
    chosen = [interpreters[name] for name in dict.fromkeys(arguments.python or interpreters)]
    if not chosen:
        parser.error("no CPython 3.10 to 3.13 that environments can be made from was found")

    try:
        report = measure_each(chosen, arguments.rounds)
    except FetchError as error:
        parser.error(f"nodes need packages from a package index: {error}")
    if arguments.json:
        arguments.json.write_text(report.to_json())
    if arguments.chart:
        arguments.chart.write_text(draw(report))
    print(report.to_table())
    exceeded = find_exceeded(report.figures)
    print("\n".join(exceeded) or "Every count is within its budget.")
    return 1 if exceeded else 0


def measure_each(interpreters: Sequence[Interpreter], rounds: int) -> Report:
    """Measure one interpreter after the other. Raises FetchError if a package index does not give what that needs."""
    report = Report(name_tools(), rounds)
    with tempfile.TemporaryDirectory(prefix="dbx-patch-bench-") as folder:
        root = Path(folder).resolve()
        progress("fetching what a runtime's layer holds")
        packages = fetch_packages(root / "packages")
        (root / "wheels").mkdir()
        wheelhouse = fill_wheelhouse(root / "wheels")
        for interpreter in interpreters:
            name = interpreter.name
            report.pythons[name] = ask_version(interpreter.python)
            progress(f"measuring CPython {report.pythons[name]}, {rounds} round{'s' * (rounds > 1)}")
            node = build_node(root / name, interpreter, wheelhouse)
            report.figures[name], report.starts[name] = measure(node, packages, rounds)
    return report


def name_tools() -> dict[str, str]:
    """Name what measured, and on which kind of machine."""
    return {"valgrind": ask_version("valgrind"), "pyperf": version("pyperf"), "on": platform.machine()}


def ask_version(program: str | Path) -> str:
    """Ask a program for its version, which is all or the end of what it prints."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return re.split(r"[ -]", printed.strip())[-1]


def progress(text: str) -> None:
    """Say what is going on."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
