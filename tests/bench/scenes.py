"""Makes the environments that starts are measured in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.node import OFF, Node
from tests.lab.wheels import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.lab.interpreters import Interpreter

PACKAGES = Path(__file__).with_name("runtime-packages.txt")
VARIANTS = ("without", "empty", "off", "with")
"""Without a `sitecustomize`, with an empty one, with the shim but turned off, and with the shim."""


@dataclass(frozen=True)
class Start:
    """A start of an interpreter: what is run, and in which environment."""

    node: Node
    loader: Path
    """The `sitecustomize.py` that loads the shim."""
    command: Sequence[object]
    environ: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def variant(self, name: str) -> Iterator[Mapping[str, str]]:
        """Make it one of the variants for a while, and return the environment to run it in."""
        kept = self.loader.with_suffix(".kept")
        ours = name in ("off", "with")
        if not ours:
            self.loader.rename(kept)
        if name == "empty":
            self.loader.touch()
        try:
            yield dict(self.environ) | (OFF if name == "off" else {})
        finally:
            if not ours:
                kept.replace(self.loader)


def build_node(root: Path, interpreter: Interpreter, wheelhouse: Path) -> Node:
    """Build a node that has no `sitecustomize` of its own, with the package."""
    node = Node(root, interpreter, wheelhouse, sitecustomize=False).build()
    node.install_dbx_patch()
    return node


def install_shim(node: Node, python: Path) -> Path:
    """Install the shim for an interpreter; return the `sitecustomize.py` that loads it."""
    done = node.dbx_patch("dbx_patch.install", "--json", "--python", str(python))
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["loader"])


def make_bare(node: Node, name: str = "bare") -> Start:
    """Make an environment that has nothing to do."""
    environment = node.root / name
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    python = environment / "bin/python"
    return Start(node, install_shim(node, python), [python, "-c", "pass"])


def add_editables(node: Node, numbers: range) -> None:
    """Write what setuptools leaves in the runtime's layer of editable installs of `src` layout."""
    layer = node.layer(node.runtime)
    for name in (f"editable{number}" for number in numbers):
        root = node.project(name) / "src"
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").touch()
        (layer / f"__editable__.{name}-1.0.pth").write_text(f"{root}\n")
        (layer / f"{name}-1.0.dist-info").mkdir()


def add_distributions(node: Node, count: int) -> None:
    """Add empty distributions to the runtime's layer: a start reads their names, and opens none of the folders."""
    layer = node.layer(node.runtime)
    for number in range(count):
        (layer / f"another{number}").mkdir()
        (layer / f"another{number}-1.0.dist-info").mkdir()


def remove_distributions(node: Node) -> None:
    """Remove the distributions that `add_distributions` added."""
    for folder in node.layer(node.runtime).glob("another*"):
        folder.rmdir()


def fetch_packages(folder: Path) -> Path:
    """Install what a runtime's layer holds into a folder: the wheels for the runtime's own Python, 3.12.

    None of them is imported, so they serve every interpreter. Raises FetchError if the index does not give them.
    """
    chosen = ["--no-deps", "--no-build", "--python-version=3.12", "--python-platform=linux", "--quiet"]
    command = [sys.executable, "-m", "uv", "pip", "install", *chosen, "--target", str(folder), "-r", str(PACKAGES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        raise FetchError(done.stderr)
    return folder


def lay_packages(node: Node, packages: Path) -> None:
    """Add them to a node's runtime, folders as links: a start enters none of them."""
    layer = node.layer(node.runtime)
    for entry in packages.iterdir():
        place = layer / entry.name
        if place.exists():  # for example pip's
            continue
        if entry.is_dir():
            place.symlink_to(entry)
        else:
            shutil.copy(entry, place)
