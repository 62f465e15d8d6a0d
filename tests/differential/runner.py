"""Runs programs by plain Python and with the shim, in one place of the machine, and compares what they print."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tests.differential.layouts import BACKENDS, LAYERS, Install, Layout, make_layout
from tests.differential.programs import CHANGES_FILES, make_program
from tests.lab.interpreters import Interpreter
from tests.lab.node import OFF
from tests.lab.projects import Backends
from tests.lab.workspace.mount import Mount
from tests.lab.workspace.namespace import Namespace, end

if TYPE_CHECKING:
    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

INSTALLED_AT = 1_700_000_000
"""When the files of editable installs were written, in seconds since the epoch."""
HERE = Path(__file__).parent
PROGRAMS_EACH = 10
"""Programs for each layout: to start two interpreters takes as long as 30 programs."""
PROJECT = """\
[build-system]
requires = ["{backend}"]
build-backend = "{module}"
[project]
name = "{project}"
version = "1.0"
"""
TOLD = {
    "setuptools": "[tool.setuptools]\npackages = {packages}\npy-modules = {modules}\n",
    "scikit-build-core": "[tool.scikit-build]\nwheel.cmake = false\nwheel.packages = {packages}\n",
    "hatchling": "[tool.hatch.build.targets.wheel]\ndev-mode-exact = true\nonly-include = {files}\n",
}
"""How each backend is told what a project has."""
BUILDER = """\
import os, sys
import setuptools.command.editable_wheel, setuptools.command.dist_info, setuptools.command.bdist_wheel
import scikit_build_core.build.wheel, hatchling.builders.wheel
answers = os.dup(1)
os.dup2(2, 1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        module, project, target = eval(line)
        os.chdir(project)
        __import__("importlib").import_module(module).build_editable(target)
        os._exit(0)
    os.write(answers, b"%d\\n" % os.waitpid(child, 0)[1])
"""
"""Builds editable wheels, each in a child of a process that has imported the backends."""


class BuildError(Exception):
    """A build backend refuses a project."""


@dataclass(frozen=True)
class Outcome:
    """What a program printed, and how it ended."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Difference:
    """A program that does not do with the shim what it does by plain Python."""

    layout: Layout
    program: list[str]
    plain: Outcome
    shim: Outcome


class Server:
    """A started interpreter that runs programs."""

    def __init__(self, process: subprocess.Popen[str], work: Path) -> None:
        self.process = process
        self._work = work

    def wait(self, word: str) -> None:
        """Wait until the server has come to a point."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != f"{word}\n":
            msg = f"the server did not start: {line}{self._work.joinpath('server-stderr').read_text()}"
            raise AssertionError(msg)

    def ask(self, line: str) -> str:
        """Send a line and return the answer."""
        self.tell(line)
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def run(self, program: Path) -> Outcome:
        """Run a program."""
        answer = self.ask(str(program))
        texts = [self._work.joinpath(name).read_text(errors="backslashreplace") for name in ("stdout", "stderr")]
        base = f"{self._work.parent}/"  # the same for both
        return Outcome(int(answer or -1), *(text.replace(base, "") for text in texts))

    def close(self) -> None:
        """End the interpreter."""
        end(self.process)


class Site:
    """An environment with the shim, the folders of one layout at a time, and a mount where one is wanted."""

    def __init__(self, folder: Path, interpreter: Interpreter, backends: Backends | None, *, mounted: bool) -> None:
        """Make the environment. Layouts with finders need the build backends."""
        self.base = folder.resolve()
        self.places = self.base / "places"
        self.work = self.base / "work"
        self.files = self.base / "files"
        """The folder that the mount mirrors."""
        for path in (self.places, self.work, self.files, self.base / "home", self.base / "namespace"):
            path.mkdir(parents=True)
        self.namespace: Namespace | None = None
        self.mount: Mount | None = None
        self._builder: subprocess.Popen[str] | None = None
        self._backends = backends
        self._built: dict[str, dict[str, bytes]] = {}
        venv = self.base / "venv"
        subprocess.run([str(interpreter.python), "-m", "venv", "--without-pip", str(venv)], check=True)
        self.python = venv / "bin/python"
        self.version = f"python3.{interpreter.minor}"
        self.own = venv / "lib" / self.version / "site-packages"
        if backends:
            with zipfile.ZipFile(self._find_editables()) as archive:
                archive.extractall(self.own)
        command = [sys.executable, "-m", "dbx_patch.install", "--python", str(self.python), "--outside-databricks"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self._at_first = {*self.own.iterdir(), *self.own.glob("__pycache__/*")}
        if mounted:
            # Its own root is the machine's, with our folder, and no interpreter is taken from it.
            nothing = Interpreter(self.base / "nothing/bin/nothing", 0, debian=False)
            nothing.python.parent.mkdir(parents=True)
            self.namespace = Namespace(self.base / "namespace", nothing, [self.base])
            self.mount = Mount(self.namespace, self.files, "/Workspace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.mount:
            self.mount.close()
        if self.namespace:
            self.namespace.close()
        if self._builder:
            self._builder.communicate()

    def locate(self, layout: Layout, place: str) -> str:
        """Return the path of a place, as programs have it."""
        if place == "own":
            return str(self.own)
        base = "/Workspace" if place in layout.remote else self.places
        return (
            f"{base}/{place}/lib/{self.version}/site-packages"
            if place in LAYERS
            else f"{base}/{place.replace('.', '/')}"
        )

    def reach(self, path: str) -> Path:
        """Return the path by which the runner has a file, past the mount."""
        return self.files / path.removeprefix("/Workspace/") if path.startswith("/Workspace/") else Path(path)

    def write(self, layout: Layout) -> None:
        """Write the files of a layout, and remove all others."""
        for folder in (self.places, self.files):
            for path in folder.iterdir():
                shutil.rmtree(path)
        for path in (*self.own.iterdir(), *self.own.glob("__pycache__/*")):
            if path not in self._at_first:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        absent = {each.place for each in layout.installs}
        for place in layout.places:
            if place not in absent:
                self.reach(self.locate(layout, place)).mkdir(parents=True, exist_ok=True)
        for name, text in layout.files.items():
            place, _, rest = name.partition("/")
            path = self.reach(f"{self.locate(layout, place)}/{rest}")
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_text(text)
        script = self.reach(self.locate(layout, layout.script))
        script.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "server.py", script)

    def install(self, layout: Layout) -> None:
        """Write the layers' `.pth` files and metadata, and describe all to the server."""
        lines: dict[str, dict[str, list[str]]] = {layer: {} for layer in LAYERS}
        for each in layout.installs:
            layer = self.locate(layout, each.layer)
            wheel = self._make_wheel(each, self.locate(layout, each.place))
            for name, content in wheel.items():
                path = self.reach(f"{layer}/{name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                os.utime(path, (INSTALLED_AT, INSTALLED_AT))  # what is only restored was not installed again
            lines[each.layer] |= {
                name: content.decode().splitlines() for name, content in wheel.items() if name.endswith(".pth")
            }
        lower = [self.locate(layout, layer) for layer in LAYERS[1:]]
        (self.own / layout.layers_file).write_text("".join(f"{layer}\n" for layer in lower))
        described = {
            "places": {place: self.locate(layout, place) for place in layout.places},
            "own_first": layout.layers_file > "__editable__",
            "layers": [
                (self.locate(layout, layer), [line for pth in sorted(found) for line in found[pth]])
                for layer, found in lines.items()
            ],
        }
        (self.work / "layout").write_text(repr(described))

    def _make_wheel(self, install: Install, root: str) -> dict[str, bytes]:
        """Return the files of an editable install."""
        info = f"{install.project}-1.0.dist-info"
        url = {"dir_info": {"editable": True}, "url": f"file://{root}"}
        found = {install.pth: f"{root}\n".encode()} if install.pth else self._build(install, root)
        found[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {install.project}\nVersion: 1.0\n".encode()
        found[f"{info}/direct_url.json"] = json.dumps(url).encode()
        found[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*found, f"{info}/RECORD"]).encode()
        return found

    def _find_editables(self) -> Path:
        """Return the wheel of the library that hatchling's finders need."""
        assert self._backends is not None
        return next(self._backends.wheels.glob("editables-*.whl"))

    def _build(self, install: Install, root: str) -> dict[str, bytes]:
        """Build an editable wheel, from the project's folder behind the mount; return its files."""
        folder, target = self.reach(root), self.base / "wheel"
        key = f"{install} {root} {sorted(folder.rglob('*'))}"  # a program's files are rewritten, not built again
        if key in self._built:
            return dict(self._built[key])
        if self._builder is None:
            assert self._backends is not None
            environ = self._backends.environ(self._backends.new)
            environ["PYTHONPATH"] += f"{os.pathsep}{self._find_editables()}"
            command = [sys.executable, "-W", "ignore", "-c", BUILDER]
            with self.base.joinpath("builder-stderr").open("w") as stderr:
                pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
                self._builder = subprocess.Popen(command, env=os.environ | environ, text=True, **pipes)
        assert self._builder.stdin is not None
        assert self._builder.stdout is not None
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        was_there = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        known = {path.name for path in folder.iterdir()}
        told = {
            "packages": [*install.packages],
            "modules": [*install.modules],
            "files": [*install.packages, *(f"{name}.py" for name in install.modules)],
        }
        module = BACKENDS[install.backend]
        text = PROJECT.format(backend=install.backend, module=module, project=install.project)
        (folder / "pyproject.toml").write_text(text + TOLD[install.backend].format(**told))
        print(repr((module, str(folder), str(target))), file=self._builder.stdin, flush=True)
        if self._builder.stdout.readline() != "0\n":
            raise BuildError(self.base.joinpath("builder-stderr").read_text())
        for path in folder.iterdir():
            if path.name not in known:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not was_there:
            folder.rmdir()
        with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
            found = {name: archive.read(name) for name in archive.namelist() if ".dist-info" not in name}
        before, after = str(folder).encode(), root.encode()
        self._built[key] = {name: content.replace(before, after) for name, content in found.items()}
        return dict(self._built[key])

    def start(self, layout: Layout, *, shim: bool) -> Server:
        """Start an interpreter in the layout."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.base / "home"),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "" if layout.byte_code else "1",
            "PYTHONHASHSEED": "0",
        }
        script = f"{self.locate(layout, layout.script)}/server.py"
        command = [str(self.python), script, str(self.work), "" if shim else str(HERE / "oracle.py")]
        with self.work.joinpath("server-stderr").open("w") as stderr:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
            environ |= {} if shim else OFF
            if self.namespace:
                process = self.namespace.start(command, environ, **pipes)
            else:
                process = subprocess.Popen(command, env=environ, text=True, start_new_session=True, **pipes)
        return Server(process, self.work)

    @contextlib.contextmanager
    def serve(self, layout: Layout) -> Iterator[tuple[Server, Server]]:
        """Start plain Python and one with the shim in a layout."""
        self.write(layout)
        with contextlib.ExitStack() as stack:
            plain = self.start(layout, shim=False)
            stack.callback(plain.close)
            plain.wait("started")  # before there is anything that `site` honors
            self.install(layout)
            plain.tell("")
            plain.wait("ready")
            shim = self.start(layout, shim=True)
            stack.callback(shim.close)
            shim.wait("ready")
            yield plain, shim

    def compare(self, layout: Layout, programs: Sequence[list[str]]) -> Iterator[Difference | None]:
        """Run programs in a layout, and yield what differs for each."""
        with self.serve(layout) as servers:
            for program in programs:
                file = self.work / "program.py"
                file.write_text(repr(program))
                outcomes = []
                for server in servers:
                    outcomes.append(server.run(file))
                    if any(statement.startswith(CHANGES_FILES) for statement in program):
                        self.write(layout)
                        self.install(layout)
                plain, shim = outcomes
                yield None if plain == shim else Difference(layout, program, plain, shim)


def make_case(seed: int, style: str, number: int) -> tuple[Layout, list[list[str]]]:
    """Make a layout and its programs."""
    random = Random(f"{seed} {style} {number}")
    layout = make_layout(random, style)
    return layout, [make_program(random, layout) for _ in range(PROGRAMS_EACH)]
