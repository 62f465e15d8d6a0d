"""The place where other projects' tests run: a notebook whose layers have editable installs of every kind."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab.interpreters import Interpreter
from tests.lab.node import Node, Notebook
from tests.lab.projects import BY_PIP, SETUPTOOLS, Backends, Project, pip_install
from tests.lab.templates import make_once

ABSENT = Project("absent", SETUPTOOLS)
"""A project whose folder is gone, as a workspace folder is until the mount is there."""
KINDS = ("setuptools-src", "setuptools-flat", "hatchling-path", "hatchling-exact", "scikit-build-redirect")
PROJECTS = tuple(project for project in BY_PIP if project.name in KINDS)
CHECK = f"""
import importlib, json, sys
print(json.dumps({{
    "shim": "dbx_patch_sitecustomize" in sys.modules,
    "files": [importlib.import_module(name).__file__ for name in {[project.package for project in PROJECTS]!r}],
}}))
"""


@dataclass(frozen=True)
class Place:
    """What the places of one interpreter are built from."""

    interpreter: Interpreter
    wheelhouse: Path
    backends: Backends

    def make_notebook(self, *, shim: bool, packages: Path | None = None) -> Notebook:
        """Make a notebook with or without the shim, and with a folder of additional packages as a layer.

        Its node is shared by all test processes. Without the shim, `site` itself opens the lower layer, so that Python
        imports the same projects: what a project's own finder breaks is then broken in both.
        """
        kind = f"{self.interpreter.name}-{'with' if shim else 'without'}-shim"
        folder = self.wheelhouse.with_name("conformance") / kind
        # With a `sitecustomize` in the standard library, the environments that tests make have the shim too.
        node = Node(folder / "node", self.interpreter, self.wheelhouse, sitecustomize=True)
        make_once(folder, lambda _: build(node, self.backends, shim=shim))
        notebook = node.make_notebook()
        runtime = notebook.layers[2]
        below = Path(notebook.layers[0], "sites.pth")
        lines = below.read_text()
        if not shim:
            lines = lines.replace(runtime, f"import site; site.addsitedir({runtime!r})")
        below.write_text(f"{packages or ''}\n{lines}")
        expected = [f"{project.package_folder(node)}/__init__.py" for project in PROJECTS]
        assert notebook.ask(CHECK) == {"shim": shim, "files": expected}
        return notebook


def build(node: Node, backends: Backends, *, shim: bool) -> None:
    """Build the node, with the package of Python's tests, which other nodes don't have."""
    node.build()
    copy_tests(node)
    # hatchling asks for it as it builds, and the finder that it writes at run time.
    node.pip("install", "--quiet", "--find-links", backends.wheels, "editables")
    for project in (*PROJECTS, ABSENT):
        project.write(node)
    pip_install(node, backends, (*PROJECTS, ABSENT))
    shutil.rmtree(ABSENT.folder(node))
    if shim:
        node.install_dbx_patch()
        node.install_shim()
    else:
        # setuptools' own start-up file is no editable install: the shim does not run it, and `site` would.
        node.layer(node.runtime).joinpath("distutils-precedence.pth").unlink(missing_ok=True)


def has_tests(interpreter: Interpreter) -> bool:
    """Return whether an interpreter's distribution has Python's own tests. Debian's and most images' don't."""
    return any(library(interpreter).glob("test/test_import*"))


def copy_tests(node: Node) -> None:
    """Copy what nodes leave out and tests need: Python's tests, and the pip that `venv` installs."""
    target = node.root / "usr/lib" / node.version
    for name in ("test", "ensurepip"):
        source = library(node.interpreter) / name
        skipped = shutil.ignore_patterns("*.opt-?.pyc", "decimaltestdata", "cjkencodings")
        if source.exists():
            shutil.copytree(source, target / name, symlinks=True, ignore=skipped)


def library(interpreter: Interpreter) -> Path:
    """Return the folder of an interpreter's standard library."""
    return interpreter.python.parent.parent / f"lib/python3.{interpreter.minor}"


def environ(folder: Path) -> dict[str, str]:
    """The environment of a suite: a folder of its own, and byte code, because tests look for the files."""
    return {"PYTHONDONTWRITEBYTECODE": "", "HOME": str(folder), "TMPDIR": str(folder)}
