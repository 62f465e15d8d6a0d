"""Shows the main job on a node in a temporary folder: `python -m tests.lab`."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.interpreters import describe, find_interpreters
from tests.lab.node import Node, Notebook
from tests.lab.wheels import FetchError, fill_wheelhouse

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORT = "from testx import function1; print(function1())"


def main() -> int:
    """Build the node, show the notebook failing, install, show it working, take it all back."""
    interpreter = describe(Path(sys.executable)) or next(iter(find_interpreters()), None)
    if interpreter is None:
        print("error: no CPython 3.10 to 3.13 that environments can be made from was found.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dbx-patch-lab-") as folder:
        root = Path(folder).resolve()
        try:
            with step(f"A node is built from CPython {interpreter.name}, with a sitecustomize in its standard library"):
                wheelhouse = root / "wheels"
                wheelhouse.mkdir()
                node = Node(root / "node", interpreter, fill_wheelhouse(wheelhouse), sitecustomize=True).build()
        except FetchError as error:
            print(f"\nerror: a node needs packages from a package index: {error}", file=sys.stderr)
            return 1
        with step(
            "testx is installed editable, from a workspace folder", "/databricks/python/bin/pip install -e …/testx"
        ):
            node.install_editable(node.copy_project("testx"))
        with step("dbx-patch is installed as a package", "/databricks/python/bin/pip install …/dbx_patch-….whl"):
            node.install_dbx_patch()
        notebook = node.make_notebook()
        dead = show(notebook, "A notebook imports it: dead")
        with step("The shim is installed", "/databricks/python/bin/python -m dbx_patch.install") as said:
            said.append(node.run([node.python, "-m", "dbx_patch.install"]).stdout.replace(f"{root}/node", ""))
        alive = show(notebook, "The same notebook, its interpreter started again: alive")
        with step("The shim is uninstalled", "/databricks/python/bin/python -m dbx_patch.uninstall") as said:
            said.append(node.run([node.python, "-m", "dbx_patch.uninstall"]).stdout.replace(f"{root}/node", ""))
        dead_again = show(notebook, "And once more: dead, as it was")
    return 0 if (dead, alive, dead_again) == (False, True, False) else 1


@contextmanager
def step(title: str, on_a_cluster: str = "") -> Iterator[list[str]]:
    """Say what is being done, how long it took, and the command that does it on a cluster."""
    print(f"{title} …", end="", flush=True)
    said: list[str] = []
    started = time.monotonic()
    yield said
    print(f" {time.monotonic() - started:.1f} s")
    if on_a_cluster:
        print(f"    on a cluster: {on_a_cluster}")
    for line in "".join(said).splitlines():
        print(f"    {line}")


def show(notebook: Notebook, title: str) -> bool:
    """Run the import in a fresh interpreter of a notebook, and show what a person would see."""
    with step(title) as said:
        done = notebook.run(IMPORT)
        last = (done.stdout or done.stderr).strip().splitlines()[-1]
        said.append(f">>> {IMPORT}\n{last.replace(str(notebook.node.root), '')}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
