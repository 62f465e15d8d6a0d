"""One node: the folders that a Databricks node has, below a temporary root, made by the tools that make them there.

What a cluster has at `/databricks/python3` is here at `<root>/databricks/python3`, and so on. Nothing is imitated but
the places: the interpreter is a private copy of a real one, the runtime's layer is made by the recipe of Databricks'
own container images (`virtualenv --system-site-packages`), and a notebook's layers stand on its path as
`python -m site` shows them on real clusters.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.interpreters import Interpreter
from tests.lab.measured import measure
from tests.lab.templates import list_names, make_once, record, replay
from tests.lab.wheels import REPOSITORY

OFF = {"DBX_PATCH_DISABLE": "1"}
"""The environment variables that turn dbx-patch off."""
FOREIGN_SITECUSTOMIZE = """\
# What a distribution puts here, as Debian and Ubuntu do: a look for a crash reporter that is seldom there.
try:
    import a_crash_reporter_that_is_not_installed
except ImportError:
    pass
a_distribution_was_here = True
"""


class Node:
    """A node's file system, and the Python processes on it."""

    def __init__(self, root: Path, interpreter: Interpreter, wheelhouse: Path, *, sitecustomize: bool) -> None:
        self.root = root
        self.interpreter = interpreter
        self.wheelhouse = wheelhouse
        self.version = f"python3.{interpreter.minor}"
        self.has_sitecustomize = sitecustomize
        self.base = root / "usr/bin" / self.version
        self.runtime = root / "databricks/python"
        """The runtime's environment, by the link that notebooks name."""
        self.cluster_libraries = root / "local_disk0/.ephemeral_nfs/cluster_libraries/python"
        self.workspace = root / "Workspace"

    def build(self) -> Node:
        """Build the node without notebooks, as a copy of one that the first such call builds."""
        kind = f"{self.interpreter.name}{'-foreign' if self.has_sitecustomize else ''}"
        replay(make_once(self._templates / kind, self._build_template), self.root)
        return self

    def _build_template(self, folder: Path) -> None:
        node = Node(folder / "node", self.interpreter, self.wheelhouse, sitecustomize=self.has_sitecustomize)
        node.build_from_scratch()
        layer = str(node.layer(node.runtime.resolve()).relative_to(node.root))
        shared = (f"usr/lib/{self.version}/", *(f"{layer}/{name}/" for name in ("pip", "setuptools", "wheel")))

        def is_shared(name: str) -> bool:
            return name.startswith(shared) and "sitecustomize" not in name

        record(folder, node.root, list_names(node.root), is_shared)
        shutil.rmtree(node.root)

    def build_from_scratch(self) -> None:
        """Build the node with the tools that build a real one."""
        self._copy_interpreter()
        self._make_runtime()
        self.run([self.python, "-m", "venv", "--without-pip", self.cluster_libraries])
        self.workspace.mkdir()
        shutil.rmtree(self.root / ".cache")  # virtualenv's

    @property
    def _templates(self) -> Path:
        return self.wheelhouse.with_name("templates")

    @property
    def outside(self) -> Path:
        """The root, by the path that the tests have for it."""
        return self.root

    @property
    def python(self) -> Path:
        """The interpreter of the runtime's environment: what init scripts use."""
        return self.runtime / "bin/python"

    def copy_project(self, name: str, folder_name: str = "") -> Path:
        """Copy the sample project into a user's workspace folder, under the name `testx` or another."""
        folder = self.project(folder_name or name)
        shutil.copytree(REPOSITORY / "docs/examples/testx", folder)
        for file in (folder / "pyproject.toml", *folder.glob("src/testx/*.py")):
            file.write_text(file.read_text().replace("testx", name))
        (folder / "src/testx").rename(folder / "src" / name)
        return folder

    def project(self, name: str) -> Path:
        """Return a project's folder."""
        return self.workspace / "Users/someone@example.com" / name

    def layer(self, environment: Path) -> Path:
        """Return an environment's layer."""
        return environment / "lib" / self.version / "site-packages"

    def make_notebook(self) -> Notebook:
        """Make a notebook's environment, as one is made when a notebook is attached."""
        environment = self.root / f"local_disk0/.ephemeral_nfs/envs/pythonEnv-{uuid.uuid4()}"
        self.run([self.python, "-m", "venv", "--without-pip", environment])
        notebook = Notebook(self, environment)
        below = "".join(f"{entry}\n" for entry in notebook.layers[1:])
        self.write(self.layer(environment) / "sites.pth", below)
        return notebook

    def write(self, path: Path, text: str) -> None:
        """Write a file of the node."""
        path.write_text(text)

    def pip(self, *arguments: str | Path, python: Path | None = None) -> str:
        """Run the runtime's pip on the wheelhouse, for another environment with `python`."""
        pip = [self.python, "-m", "pip", "--disable-pip-version-check"]
        only = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheelhouse)}
        return self.run([*pip, *(["--python", python] if python else []), *arguments], only).stdout

    def install_editable(self, project: Path, *, python: Path | None = None) -> None:
        """Install a project editable: into the runtime's layer, or into that of another interpreter."""
        command = ("install", "--quiet", "--no-deps", "--no-build-isolation", "-e")
        distribution = project.name.replace("-", "_")
        if python is not None or any(self.layer(self.runtime).glob(f"{distribution}-*.dist-info")):
            self.pip(*command, project, python=python)
        else:
            self._pip_once([*command, project], project)

    def install_dbx_patch(self) -> None:
        """Install the package into the runtime's layer, as an init script does."""
        self._pip_once(["install", "--quiet", "dbx-patch"], None)

    def install_shim(self) -> None:
        """Run the installer, as an init script does after that."""
        done = self.dbx_patch("dbx_patch.install")
        assert done.returncode == 0, done.stdout + done.stderr

    def _pip_once(self, arguments: list[str | Path], project: Path | None) -> None:
        """Run pip on a fresh node, keep what it writes, and copy that; run pip here if it would replace a file."""
        sources = {} if project is None else read_tree(project)
        key = hashlib.sha256(repr((self.interpreter.name, *map(self._relative, arguments), sources)).encode())

        def record_pip(folder: Path) -> None:
            node = Node(folder / "node", self.interpreter, self.wheelhouse, sitecustomize=self.has_sitecustomize)
            node.build()
            if project is not None:
                shutil.copytree(project, node.root / self._relative(project), symlinks=True)
            before = node.snapshot()
            node.pip(*(node.root / self._relative(part) if isinstance(part, Path) else part for part in arguments))
            after = node.snapshot()
            record(folder, node.root, [name for name in list_names(node.root) if before.get(name) != after[name]])
            shutil.rmtree(node.root)

        if not replay(make_once(self._templates / key.hexdigest()[:16], record_pip), self.root):
            self.pip(*arguments)

    def _relative(self, part: str | Path) -> str:
        """Return a path as it is on the node."""
        return part if isinstance(part, str) else str(part.relative_to(self.root))

    def dbx_patch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m dbx_patch` by the runtime's interpreter."""
        return self.run([self.python, "-m", *arguments], check=False)

    def run(
        self, command: Sequence[object], environ: Mapping[str, str] | None = None, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment that the node's processes have; its output is shown where it fails."""
        __tracebackhide__ = True
        done = subprocess.run(
            measure([str(part) for part in command], self._templates.with_name("coverage")),
            env=self.environ() | dict(environ or {}),
            cwd=self.root,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            line = " ".join(map(str, command))
            msg = f"exit code {done.returncode}: {line}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done

    def run_fixes(self, output: str) -> None:
        """Run each command that an output names as a fix."""
        commands = re.findall(r"^ *Fix: .*?`(.*?)`", output, re.MULTILINE)
        assert commands, output
        for command in commands:
            self.run(["sh", "-c", command])

    def open_to_all(self) -> None:
        """Let every user read the node. pytest creates its folder for its own user only."""
        for folder in (self.root, *self.root.parents):
            if "pytest-" in str(folder):
                folder.chmod(0o755)

    def environ(self) -> dict[str, str]:
        """The environment of a node's processes: the machine's, without what changes how Python starts."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "DBX_"))
        }
        # The tree is compared byte for byte, and Python would add byte code to it as it goes.
        return kept | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.root),
            "LD_LIBRARY_PATH": str(self.root / "usr/lib"),  # the copy's own library, which any user may read
            # Another pytest would make the folder of all its runs, where this node is, private again: see open_to_all.
            "PYTEST_DEBUG_TEMPROOT": str(self.root),
        }

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        """Return every file, folder and link, with content, mode, owner and, for a file, modification time."""
        tree: dict[str, tuple[object, ...]] = {}
        for entry in walk(self.root):
            status = entry.stat(follow_symlinks=False)
            facts: tuple[object, ...] = (oct(status.st_mode), status.st_uid, status.st_gid)
            if entry.is_symlink():
                facts += (str(Path(entry.path).readlink()),)
            elif entry.is_file():
                facts += (digest(entry.path, status), status.st_mtime_ns)
            tree[entry.path.removeprefix(f"{self.root}/")] = facts
        return tree

    def _copy_interpreter(self) -> None:
        """Copy the interpreter and its standard library, so that tests write to the copy."""
        prefix = self.interpreter.python.parent.parent
        library = self.root / "usr/lib" / self.version
        self.base.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.interpreter.python, self.base)
        unused = ("test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "config-*", "*-packages")
        skipped = shutil.ignore_patterns(*unused, "*.opt-?.pyc")
        shutil.copytree(prefix / "lib" / self.version, library, symlinks=True, ignore=skipped)
        for shared in prefix.glob(f"lib/lib{self.version}.so*"):
            shutil.copy2(shared, self.root / "usr/lib", follow_symlinks=False)
        foreign = library / "sitecustomize.py"
        foreign.unlink(missing_ok=True)
        if self.has_sitecustomize:
            # As on Debian and Ubuntu: a link in the standard library to a file below /etc.
            configured = self.root / "etc" / self.version / "sitecustomize.py"
            configured.parent.mkdir(parents=True)
            configured.write_text(FOREIGN_SITECUSTOMIZE)
            foreign.symlink_to(os.path.relpath(configured, library))
            self.run([self.base, "-m", "compileall", "-q", foreign])
        for folder in (f"usr/local/lib/{self.version}/dist-packages", "usr/lib/python3/dist-packages"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("driver", "jars", "python_shell", ".python_edge_libs", "spark/python/lib"):
            (self.root / "databricks" / folder).mkdir(parents=True)
        for archive in ("spark/python/lib/py4j-0.10.9.7-src.zip", "jars/spark--driver-spark_3.5.jar"):
            with zipfile.ZipFile(self.root / "databricks" / archive, "w") as file:
                file.writestr("README", "an archive on the path")

    def make_virtualenv(self, environment: Path, *options: str) -> None:
        """Make an environment of the node's interpreter by `virtualenv`."""
        python = [f"--python={self.base}", "--no-periodic-update", "--quiet"]
        self.run([sys.executable, "-m", "virtualenv", *python, *options, environment])

    def _make_runtime(self) -> None:
        """Make the runtime's environment by the recipe of Databricks' container images."""
        self.make_virtualenv(self.root / "databricks/python3", "--system-site-packages")
        self.runtime.symlink_to("python3")
        # As on a runtime: setuptools, and with it a start-up file that has nothing to do with editable installs.
        self.pip("install", "--quiet", "setuptools", "wheel")
        # virtualenv does not cache pip's byte code, and the node's processes don't either: 0.7 s a call.
        self.run([self.python, "-m", "compileall", "-q", self.layer(self.runtime) / "pip"])


def walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Walk through every file, folder and link below a folder."""
    for entry in os.scandir(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


DIGESTS: dict[tuple[int, ...], str] = {}
"""The digests of the files that nodes share: most files of a node, which each snapshot would read."""


def digest(path: str, status: os.stat_result) -> str:
    """Return a digest of a file; see `record` in tests/lab/templates.py for those that nodes share."""
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if status.st_nlink == 1 or key not in DIGESTS:
        DIGESTS[key] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return DIGESTS[key]


def read_tree(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass(frozen=True)
class Notebook:
    """A notebook's environment, and the processes that its kernel's interpreter starts."""

    node: Node
    environment: Path

    @property
    def python(self) -> Path:
        """The kernel's interpreter."""
        return self.environment / "bin/python"

    @property
    def layers(self) -> list[str]:
        """The six layers of a notebook, from its own to the lowest."""
        node, version = self.node, self.node.version
        return [
            str(node.layer(self.environment)),
            str(node.layer(node.cluster_libraries)),
            str(node.layer(node.runtime)),
            str(node.root / f"usr/local/lib/{version}/dist-packages"),
            str(node.root / "usr/lib/python3/dist-packages"),
            str(node.root / "databricks/.python_edge_libs"),
        ]

    @property
    def python_path(self) -> list[str]:
        """The kernel's PYTHONPATH."""
        databricks = self.node.root / "databricks"
        return [
            f"{databricks}/driver",
            f"{databricks}/spark/python",
            f"{databricks}/spark/python/lib/py4j-0.10.9.7-src.zip",
            f"{databricks}/jars/spark--driver-spark_3.5.jar",
            "/WSFS_NOTEBOOK_DIR",
            f"{databricks}/python_shell",
        ]

    @property
    def environ(self) -> dict[str, str]:
        """What a kernel's environment has beside a node's."""
        return {"PYTHONPATH": os.pathsep.join(self.python_path)}

    def run(
        self, code: str, environ: Mapping[str, str] | None = None, *, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run code in a fresh interpreter of this notebook."""
        return self.node.run([self.python, "-c", code], self.environ | dict(environ or {}), check=check)

    def ask(self, code: str, environ: Mapping[str, str] | None = None) -> Any:
        """Run code that prints JSON in a fresh interpreter of this notebook, and return what it printed."""
        __tracebackhide__ = True
        return json.loads(self.run(code, environ, check=True).stdout)
