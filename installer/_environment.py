"""Make the environment that a notebook would have, for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._errors import InstallerError, explain
from dbx_patch.installer._interpreter import NOTEBOOK, Interpreter, last_line, plain_environ, probe, run
from dbx_patch.installer._node import LIBRARIES, find_node, find_runtime
from dbx_patch.installer._trust import find_exposed, make_scratch_folder, trusted_uids

KERNEL_PATH = (
    "driver",
    "spark/python",
    "spark/python/lib/py4j-*-src.zip",
    "jars/spark--driver-spark*.jar",
    "python_shell",
)
"""What a kernel's PYTHONPATH has below `/databricks`, in its order."""
EDGE_LIBRARIES = "databricks/.python_edge_libs"
"""The lowest folder on a notebook's path, below the root of a node."""
NO_NODE = "this is no Databricks node: /databricks is missing, and DATABRICKS_RUNTIME_VERSION is not set"


@dataclass(frozen=True, slots=True)
class NotebookEnvironment:
    """An environment as a new notebook has it, and how to run Python there."""

    python: str
    """Its interpreter."""
    folder: str
    """Its folder."""
    base: str
    """The runtime's interpreter, from which it was created."""
    environ: dict[str, str]
    """The environment variables of a kernel, as far as they change what Python imports."""

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run its interpreter, and return the exit code, stdout and stderr. Raises InstallerError if it can't start."""
        done = run([self.python, *arguments], self.environ)
        return done.returncode, done.stdout, done.stderr


def make_environment(interpreter: Interpreter, maker: list[str], folder: Path, layers: Iterable[str]) -> str:
    """Create an environment above some layers with `python -m maker`, and return its interpreter.

    Raises InstallerError if that fails, and OSError.
    """
    done = run([interpreter.python, "-IB", "-m", *maker, str(folder)], plain_environ())
    if done.returncode:
        cause = last_line(done.stderr or done.stdout).rstrip(".")
        msg = f"`python -m {maker[0]}` failed to create a notebook environment.\n{cause}."
        raise InstallerError(msg, fix=f"make `{interpreter.python} -m {maker[0]}` work, then run the command again.")
    # As on Databricks: `site` reads the `.pth` files of the environment's own layer, the layers below are entries.
    name_layer(folder, interpreter).joinpath("layers.pth").write_text("".join(f"{each}\n" for each in layers), "utf-8")
    return str(folder / "bin/python")


def name_layer(environment: Path, interpreter: Interpreter) -> Path:
    """Return the layer of an environment that has the Python of an interpreter."""
    major, minor = interpreter.version[:2]
    return environment / "lib" / f"python{major}.{minor}" / "site-packages"


def is_notebook() -> bool:
    """Return whether the environment of this process is a notebook's own."""
    return Path(sys.prefix).match(NOTEBOOK)


@contextlib.contextmanager
def open_notebook() -> Iterator[NotebookEnvironment]:
    """Create the environment that a new notebook of this node would have, and remove it afterwards.

    It is a virtual environment of the runtime's interpreter, above the layers of the cluster's libraries and of the
    runtime, with a kernel's PYTHONPATH. What the kernel's own program does is not in it, Databricks' hooks among that.
    Raises InstallerError, without a fix, if this is no Databricks node or the environment can't be created.
    """
    node = find_node(Path(sys.prefix).resolve())
    if node is None:
        raise InstallerError(NO_NODE)
    python = find_runtime(node) or Path(sys.executable)
    try:
        exposed = find_exposed(python, trusted_uids())
        if exposed:
            msg = f"{python} is not run, because other users can modify {exposed}"
            raise InstallerError(msg)
        runtime = probe(str(python), plain_environ() | {"PYTHONNOUSERSITE": "1"})  # notebooks have no user site
        scratch = make_scratch_folder()
    except OSError as error:
        raise InstallerError(explain(error).rstrip(".")) from error
    with scratch:
        folder = Path(scratch.name).resolve() / "notebook"
        try:
            notebook = make_environment(runtime, ["venv", "--without-pip"], folder, list_layers(node, runtime))
        except OSError as error:
            raise InstallerError(explain(error).rstrip(".")) from error
        # Not `plain_environ` alone: what is set for dbx-patch in this shell is most often set for the whole cluster.
        ours = {name: value for name, value in os.environ.items() if name.startswith("DBX_PATCH_")}
        environ = plain_environ() | ours | {"PYTHONPATH": os.pathsep.join(list_kernel_path(node))}
        yield NotebookEnvironment(notebook, str(folder), runtime.python, environ)


def list_layers(node: Path, runtime: Interpreter) -> list[str]:
    """List the layers below a notebook's own, from the highest one on. `site` leaves out those that do not exist."""
    cluster = name_layer(node / LIBRARIES, runtime)
    return list(dict.fromkeys(map(str, (cluster, *(each["path"] for each in runtime.layers), node / EDGE_LIBRARIES))))


def list_kernel_path(node: Path) -> list[str]:
    """List the entries of a kernel's PYTHONPATH that exist."""
    return [str(path) for entry in KERNEL_PATH for path in sorted((node / "databricks").glob(entry))]
