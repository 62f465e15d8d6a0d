"""Runs cells in a notebook's kernel: the real ipykernel, started as Databricks starts it."""

from __future__ import annotations

import json
import queue
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.lab.hooks import STAND_INS, TOP_LEVEL
from tests.lab.wheels import REPOSITORY, pip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_client.blocking.client import BlockingKernelClient
    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

    from tests.lab.node import Node, Notebook

LAUNCHER = Path(__file__).with_name("db_ipykernel_launcher.py")
PATIENCE = 120
"""Seconds after which a cell or a start has failed."""
NAME = "databricks"
"""The kernel's name in Jupyter's list of kernels."""


@dataclass
class Output:
    """What a notebook shows below a cell."""

    text: str = ""
    error: str = ""
    """The last line of a traceback, such as `ModuleNotFoundError: No module named 'testx'`."""
    html: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    """What has replaced a part of it, one after the other."""
    died: bool = False
    """Whether the kernel ended while it ran the cell."""


def read_cells(notebook: Path) -> list[str]:
    """Return the code cells of a notebook's file."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


class Kernel:
    """A running kernel of a notebook."""

    patience = PATIENCE

    def __init__(
        self, notebook: Notebook, environ: Mapping[str, str] | None = None, *, before: Sequence[str] = ()
    ) -> None:
        """`before` is a command that runs the interpreter, for example under `strace` or as another user."""
        node = notebook.node
        launcher = provide_kernel(node)
        specs = self.folder(node) / "kernels" / notebook.environment.name
        folder = specs / NAME
        folder.mkdir(parents=True, exist_ok=True)
        argv = [*before, str(notebook.python), str(launcher), "-f", "{connection_file}"]
        folder.joinpath("kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": NAME, "language": "python"})
        )
        self.environ = (
            node.environ() | notebook.environ | {"WSFS_TEST_DIR": str(node.root).rstrip("/")} | dict(environ or {})
        )
        self.environ |= {"IPYTHONDIR": str(self.folder(node) / "ipython"), "VIRTUAL_ENV": str(notebook.environment)}
        manager = KernelSpecManager(kernel_dirs=[str(specs)], ensure_native_kernel=False)
        self.manager = KernelManager(kernel_name=NAME, kernel_spec_manager=manager)
        self.manager.connection_file = str(specs / "connection.json")
        self.log = specs / "stderr"
        self.notebook = notebook

    def folder(self, node: Node) -> Path:
        """Return a folder that tests and kernels have at the same path."""
        return node.root

    def __enter__(self) -> Self:
        self._stderr = self.log.open("w")
        self.manager.start_kernel(env=self.environ, cwd=str(self.notebook.node.root), stderr=self._stderr)
        self.client = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self._stderr.close()

    def run(self, cell: str) -> Output:
        """Run a cell and return its output. If the kernel ends, start it again, as Databricks does."""
        output = Output()
        asked = self.client.execute(cell)
        deadline = time.monotonic() + self.patience
        running = True
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.5)
            except queue.Empty:
                # A kernel that ends can send its last messages after this time-out, so wait once more for them.
                was_running, running = running, self.manager.is_alive()
                if not was_running:
                    output.died = True
                    self.restart()
                    return output
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            kind = message["msg_type"]
            if kind == "stream":
                output.text += content["text"]
            elif kind in {"execute_result", "display_data"}:
                output.text += content["data"].get("text/plain", "") + "\n"
                output.html += [content["data"]["text/html"]] if "text/html" in content["data"] else []
            elif kind == "update_display_data":
                output.updates.append(content["data"]["text/html"])
            elif kind == "error":
                output.error = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                return output
        msg = f"a cell took longer than {self.patience} seconds: {cell}"
        raise TimeoutError(msg)

    def run_notebook(self, name: str, places: Mapping[str, str], *, leave_out: bool = False) -> list[Output]:
        """Run the cells of a notebook of the documentation, with its places replaced. No cell may fail.

        The first one installs dbx-patch. The notebook says where to leave it out.
        """
        outputs = []
        for cell in read_cells(REPOSITORY / f"docs/notebooks/{name}.ipynb")[leave_out:]:
            for place, other in places.items():
                cell = cell.replace(place, other)  # noqa: PLW2901  # the same cell
            outputs.append(self.run(cell))
            assert outputs[-1].error == "", (cell, outputs)
        return outputs

    def restart(self) -> None:
        """Start the kernel again: a new interpreter in the same environment."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.client = self._connect()

    def _connect(self) -> BlockingKernelClient:
        client = self.manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=self.patience)
        except RuntimeError as error:
            raise AssertionError(self.log.read_text()) from error
        return client


def provide_kernel(node: Node) -> Path:
    """Copy the stand-ins that a kernel imports into a folder of its PYTHONPATH. Return the launcher."""
    shell = node.outside / "databricks/python_shell"
    launcher = shell / "scripts" / LAUNCHER.name
    if not launcher.exists():
        shutil.copytree(
            STAND_INS, shell / "dbruntime", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        for name in TOP_LEVEL:
            shutil.move(shell / f"dbruntime/{name}.py", shell)
        launcher.parent.mkdir()
        shutil.copy(LAUNCHER, launcher)
    return node.root / launcher.relative_to(node.outside)


def provide_real_hook(node: Node, real_hook: Path) -> None:
    """Replace the stand-in for `wsfs_import_hook` by the published module, for every kernel of a node."""
    provide_kernel(node)
    shell = node.outside / "databricks/python_shell"
    shutil.copy(real_hook / "wsfs_import_hook.py", shell / "dbruntime/wsfs_import_hook.py")


def install_ipykernel(node: Node, folder: Path) -> None:
    """Fetch ipykernel and what the tests' cells use, and install both into the runtime's layer, as Databricks does."""
    wanted = ("ipykernel", "cloudpickle", "pytest", "uv")
    fetch = ("download", "--quiet", "--only-binary=:all:", "--dest", folder)
    pip(*fetch, f"--python-version=3.{node.interpreter.minor}", *wanted)
    node.pip("install", "--quiet", f"--find-links={folder}", *wanted)


def as_user(uid: int) -> list[str]:
    """Return the command that runs a kernel as another user, who then owns the kernel's connection file."""
    become = 'for last; do :; done; chown "$0" "$last"; exec setpriv --reuid="$0" --regid="$0" --clear-groups "$@"'
    return ["sh", "-c", become, str(uid)]
