"""Demonstrates dbx-patch on a node in a temporary folder: `python -m tests.lab`.

With `--workspace`, the node has a file system of its own as `/Workspace`, and the calls that reach it are counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.interpreters import Interpreter, describe, find_interpreters
from tests.lab.node import Node, Notebook
from tests.lab.wheels import FetchError, fill_wheelhouse

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORT = "from testx import function1; print(function1())"


def main() -> int:
    """Run the demonstration that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--workspace", action="store_true", help="show what imports ask a real workspace mount")
    parser.add_argument(
        "--latency", type=float, default=2, metavar="MS", help="how long the mount takes to answer (default: 2 ms)"
    )
    arguments = parser.parse_args()
    interpreter = describe(Path(sys.executable)) or next(iter(find_interpreters()), None)
    if interpreter is None:
        print("error: Found no CPython 3.10 to 3.13 that can create virtual environments.", file=sys.stderr)
        return 1
    if arguments.workspace:
        from tests.lab.workspace.demonstration import demonstrate  # noqa: PLC0415  # it needs more of the machine

        return demonstrate(interpreter, arguments.latency)
    return demonstrate_main_job(interpreter)


def demonstrate_main_job(interpreter: Interpreter) -> int:
    """Build a node, show an import that fails, install, show it work, uninstall, and show it fail again."""
    with tempfile.TemporaryDirectory(prefix="dbx-patch-lab-") as folder:
        root = Path(folder).resolve()
        try:
            with step(f"Building a Databricks node from CPython {interpreter.name}"):
                wheelhouse = root / "wheels"
                wheelhouse.mkdir()
                node = Node(root / "node", interpreter, fill_wheelhouse(wheelhouse), sitecustomize=True).build()
        except FetchError as error:
            print(f"\nerror: Could not download the packages of a node: {error}", file=sys.stderr)
            return 1
        with step(
            "Installing testx editable, from a workspace folder", "/databricks/python/bin/pip install -e …/testx"
        ):
            node.install_editable(node.copy_project("testx"))
        with step("Installing the package dbx-patch", "/databricks/python/bin/pip install …/dbx_patch-….whl"):
            node.install_dbx_patch()
        notebook = node.make_notebook()
        before = show(notebook, "Importing testx in a notebook")
        with step("Installing the shim", "/databricks/python/bin/python -m dbx_patch.install") as output:
            output.append(node.run([node.python, "-m", "dbx_patch.install"]).stdout.replace(f"{root}/node", ""))
        installed = show(notebook, "Importing testx in the same notebook, after a restart")
        with step("Uninstalling the shim", "/databricks/python/bin/python -m dbx_patch.uninstall") as output:
            output.append(node.run([node.python, "-m", "dbx_patch.uninstall"]).stdout.replace(f"{root}/node", ""))
        after = show(notebook, "Importing testx once more, after a restart")
    return 0 if (before, installed, after) == (False, True, False) else 1


@contextmanager
def step(title: str, on_a_cluster: str = "") -> Iterator[list[str]]:
    """Print what is being done, how long it took, and the command that does it on a cluster."""
    print(f"{title} …", end="", flush=True)
    output: list[str] = []
    started = time.monotonic()
    yield output
    print(f" {time.monotonic() - started:.1f} s")
    if on_a_cluster:
        print(f"    on a cluster: {on_a_cluster}")
    for line in "".join(output).splitlines():
        print(f"    {line}")


def show(notebook: Notebook, title: str) -> bool:
    """Run the import in a fresh interpreter of a notebook, and print what a person would see."""
    with step(title) as output:
        done = notebook.run(IMPORT)
        last = (done.stdout or done.stderr).strip().splitlines()[-1]
        output.append(f">>> {IMPORT}\n{last.replace(str(notebook.node.root), '')}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
