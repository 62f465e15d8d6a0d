"""The promises: a table, with one small function for each that tries it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dbx_patch._inventory import SHARED
from dbx_patch._mounts import find_mount
from dbx_patch._selftest._processes import LIMIT, Answer, BrokenError, Fresh, Here
from dbx_patch._selftest._scratch import MODULE, Project, Scratch, Style

IMPORT = "import {name}; answer = {name}.__file__"
SOON = """
import time
for attempt in range(25):
    try:
        import {name}
    except ModuleNotFoundError:
        time.sleep(0.1)
    else:
        break
import {name}
answer = {name}.__file__
"""
"""An absent folder is asked again after a second."""
LIBRARY = """\
import importlib

def load():
    import {name}
    return importlib.import_module("{name}.inner.deep").VALUE, {name}.__file__
"""
"""A library's module. Databricks' hooks refuse it what they let a notebook's cells import."""
STYLES: tuple[Style, Style] = ("path", "finder")


class NotApplicableError(Exception):
    """A promise can't be tried here. The argument is the reason."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A site- or dist-packages folder on the path."""

    path: str
    is_opened: bool = False
    """Whether Python itself reads its `.pth` files."""
    obstacle: str = ""
    """Why nothing can be installed into it; empty if it can."""


@dataclass(slots=True)
class Trial:
    """What a promise is tried with."""

    scratch: Scratch
    process: Fresh | Here
    layer: Layer
    """What is installed into."""
    folder: Path
    """Where projects are."""
    temporary: Path
    """A folder of ours on the local disk."""
    layers: tuple[Layer, ...] = ()
    calls: int | None = None
    """The calls to the mount so far; None if they are not known."""

    @property
    def is_on_mount(self) -> bool:
        """Whether projects are on a mount."""
        return bool(find_mount(str(self.folder)))

    def run(self, code: str, between: Callable[[], object] | None = None) -> Answer:
        """Run code in the process, and count its calls to the mount."""
        answer = self.process.run(code, between, str(self.folder) if self.is_on_mount else "")
        if answer.calls is not None:
            self.calls = (self.calls or 0) + len(answer.calls)
        return answer

    def project(self) -> Project:
        """Write a project."""
        return self.scratch.write_project(self.folder)

    def install(self, project: Project, style: Style = "path") -> None:
        """Install a project into the layer."""
        self.scratch.install(project, Path(self.layer.path), style)

    def installed(self, style: Style = "path") -> Project:
        """Write and install a project."""
        project = self.project()
        self.install(project, style)
        return project

    def expect(self, code: str, wanted: object, between: Callable[[], object] | None = None) -> None:
        """Run code, and raise BrokenError if its answer is not the wanted one."""
        found = self.run(code, between).value
        if found != wanted:
            msg = "it gave another answer than the project's own"
            raise BrokenError(msg, f"{found!r} instead of {wanted!r}")

    def write_library(self, name: str) -> str:
        """Write a module into the layer that imports a project, and return its name."""
        module = self.scratch.make_name()
        self.scratch.touch(Path(self.layer.path))
        text = LIBRARY.format(name=name)
        self.scratch.write(Path(self.layer.path, f"{module}.py"), text)
        return module


# How each promise is tried


def try_start(trial: Trial) -> None:
    """Start Python with a finder that ends it and one that is no Python: nothing differs from dbx-patch turned off."""
    for text in ("raise SystemExit('a finder that ends Python')\n", "def\n"):
        project = trial.installed("finder")
        finder = Path(trial.layer.path, f"__editable___{project.name}_1_0_finder.py")
        finder.write_text(text, "utf-8")
    if not isinstance(trial.process, Fresh):
        raise NotApplicableError(THIS_PROCESS_ONLY)
    command = [sys.executable, "-c", "print('started')"]
    started = []
    for more in ({}, {"DBX_PATCH_DISABLE": "1"}):
        done = subprocess.run(
            command,
            env=trial.process.environ(more),
            cwd=trial.temporary,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        started.append((done.returncode, done.stdout, done.stderr))
    if started[0] != started[1]:
        msg = "it ended with another code, or printed something else"
        raise BrokenError(msg, f"{started[0]!r} instead of {started[1]!r}")


def try_path(trial: Trial) -> None:
    """Import a project whose `.pth` file names its folder."""
    project = trial.installed("path")
    trial.expect(IMPORT.format(name=project.name), str(project.file))


def try_finder(trial: Trial) -> None:
    """Import a project whose `.pth` file runs a finder."""
    project = trial.installed("finder")
    trial.expect(IMPORT.format(name=project.name), str(project.file))


def try_library(trial: Trial) -> None:
    """Import projects of both styles from a module in the layer, by a statement and by `importlib.import_module`."""
    for style in STYLES:
        project = trial.installed(style)
        module = trial.write_library(project.name)
        trial.expect(f"import {module}; answer = {module}.load()", (2, str(project.file)))


def try_submodule(trial: Trial) -> None:
    """Import a module of a package in the package, in both styles."""
    for style in STYLES:
        project = trial.installed(style)
        trial.expect(f"from {project.name}.inner import deep; answer = deep.function()", 2)


def try_source(trial: Trial) -> None:
    """Get the source of a function from the file in the project, in both styles."""
    wanted = MODULE.format(value=1).partition("\n\n\n")[2]
    for style in STYLES:
        name = trial.installed(style).name
        trial.expect(f"import inspect, {name}; answer = inspect.getsource({name}.function)", wanted)


def try_edit(trial: Trial) -> None:
    """Edit a module whose byte code was kept: the next start runs it as it is now."""
    project = trial.installed()
    code = f"import sys; sys.dont_write_bytecode = False; import {project.name}; answer = {project.name}.VALUE"
    trial.expect(code, 1)
    project.file.write_text(MODULE.format(value=1234), "utf-8")
    trial.expect(code, 1234)


def try_late_folder(trial: Trial) -> None:
    """Import from a folder at most two seconds after it came: it was absent at the start and at a first import.

    The workspace mount behaves like that: it often can't be read yet when a kernel starts.
    """
    name = trial.scratch.make_name()
    project = Project(name, trial.folder)
    trial.install(project)
    first = f"try:\n    import {name}\nexcept ImportError:\n    pass\npause()\n"
    trial.expect(
        first + SOON.format(name=name), str(project.file), lambda: trial.scratch.write_project(trial.folder, name)
    )


def try_running(trial: Trial) -> None:
    """Import installs of both styles in a process that was running, and whose first import of them failed."""
    for style in STYLES:
        project = trial.project()
        first = f"try:\n    import {project.name}\nexcept ImportError:\n    pass\npause()\n"
        trial.expect(first + IMPORT.format(name=project.name), str(project.file), lambda: trial.install(project, style))  # noqa: B023


def try_order(trial: Trial) -> None:
    """Import an editable install rather than an ordinary copy in a lower layer, but a copy in a higher layer first."""
    for style in STYLES:
        for is_above in (False, True):
            project = trial.project()
            layer = trial.scratch.make_folder(trial.temporary) / "site-packages"
            copy = layer / project.name / "__init__.py"
            trial.scratch.write(copy, MODULE.format(value=3))
            place = f"import sys; sys.path.insert({0 if is_above else 'len(sys.path)'}, {str(layer)!r}); pause()\n"
            wanted = str(copy if is_above else project.file)
            trial.expect(place + IMPORT.format(name=project.name), wanted, lambda: trial.install(project, style))  # noqa: B023


def try_refusal(trial: Trial) -> None:
    """Run no other line of a `.pth` file, and do not honor one that is world-writable."""
    layer = Path(trial.layer.path)
    other, project = trial.scratch.make_name(), trial.project()
    trial.scratch.write(layer / f"{other}.pth", f"import sys; sys.{other} = True\n")
    trial.scratch.install(project, layer, "path", mode=0o666)
    found = f"import sys\ntry:\n    import {project.name}\nexcept ImportError:\n    pass\n"
    trial.expect(f"{found}answer = {project.name!r} in sys.modules, hasattr(sys, {other!r})", (False, False))


def try_pip(trial: Trial) -> None:
    """Import what pip itself installs editable, into the folder that it installs into."""
    import sysconfig  # noqa: PLC0415  # this check alone needs it

    purelib = sysconfig.get_path("purelib")
    layer = next((layer for layer in trial.layers if layer.path == purelib), Layer(purelib, obstacle="not on the path"))
    trial.layer = layer
    if layer.obstacle:
        msg = f"pip installs into a layer of which this holds: {layer.obstacle}"
        raise NotApplicableError(msg)
    project = trial.project()
    folder = trial.scratch.write_backend(project)
    trial.scratch.touch(Path(purelib))
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--editable", str(folder)]
    done = subprocess.run(
        [*command, "install", *options],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(trial.temporary)},
        cwd=trial.temporary,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=4 * LIMIT,
        check=False,
    )
    if done.returncode:
        msg = "pip can't install a project without a package index here"
        raise NotApplicableError(msg)
    trial.expect(IMPORT.format(name=project.name), str(project.file))


def try_cache(trial: Trial) -> None:
    """Import a module again in a second start without reading it on the mount: its byte code is on the local disk."""
    if find_mount(str(trial.temporary)):
        msg = "the folder for temporary files is on a mount, too"
        raise NotApplicableError(msg)
    if sys.pycache_prefix is not None or os.environ.get("DBX_PATCH_NO_CACHE", "0") not in {"", "0"}:
        msg = "PYTHONPYCACHEPREFIX or DBX_PATCH_NO_CACHE is set"
        raise NotApplicableError(msg)
    project = trial.installed()
    code = f"import sys; sys.dont_write_bytecode = False; import {project.name}; answer = {project.name}.VALUE"
    trial.expect(code, 1)
    calls = trial.run(code).calls or []
    if ("open", str(project.file)) in calls:
        msg = "it read the source again"
        raise BrokenError(msg, "")
    if project.file.with_name("__pycache__").exists():
        msg = "the byte code was written to the mount"
        raise BrokenError(msg, "")


def try_spared_mount(trial: Trial) -> None:
    """Import modules of the standard library without a call to the mount."""
    project = trial.installed("path")
    trial.installed("finder")
    module = trial.write_library(project.name)
    code = f"import time, {module}; {module}.load(); time.sleep(1.1); calls.clear()\n"  # listings serve for a second
    calls = trial.run(f"{code}import wave, colorsys; answer = True").calls or []
    if calls:
        msg = f"it made {len(calls)} calls"
        raise BrokenError(msg, f"the first: {' '.join(calls[0])}")


def try_udf(trial: Trial) -> None:
    """Import the project in a user-defined function on an executor."""
    spark = sys.modules.get("pyspark.sql")
    session = spark.SparkSession.getActiveSession() if spark else None
    if spark is None or session is None:
        msg = "this process has no active Spark session"
        raise NotApplicableError(msg)
    shared = [layer for layer in trial.layers if not layer.obstacle and f"{layer.path}/".startswith(SHARED)]
    if not f"{trial.folder}/".startswith(SHARED) or not shared:
        msg = "there is no folder or no layer here that executors can read and this user can write"
        raise NotApplicableError(msg)
    trial.layer = min(shared, key=lambda layer: layer.is_opened)
    project = trial.installed()
    name = project.name
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def ask(_):\n    import {name}\n    return {name}.__file__", space)  # noqa: S102  # its code is sent, not a name
    try:
        frame = session.range(1).select(spark.functions.udf(space["ask"], "string")("id"))
        found = str(frame.first()[0])
    except Exception as error:  # whatever Spark raises is the finding
        msg = f"it raised {type(error).__name__}"
        raise BrokenError(msg, str(error).strip()[-500:]) from error
    if found != str(project.file):
        msg = "it imported another file"
        raise BrokenError(msg, found)


# The table

THIS_PROCESS_ONLY = "the shim runs in this process only, not in fresh interpreters"


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, and where it is tried."""

    name: str
    attempt: Callable[[Trial], None]
    """What tries it."""
    process: Literal["fresh", "here", "either"]
    """`either` is a fresh interpreter, or this process if the shim runs here only."""
    projects: Literal["temporary", "workspace"] = "temporary"
    each_layer: bool = False
    needs_mount: bool = False
    in_temporary_layer: bool = False
    """Whether it must not be tried in a layer that other processes use."""


PROMISES = (
    Promise("start", try_start, "fresh", in_temporary_layer=True),
    Promise("path style", try_path, "either", each_layer=True),
    Promise("finder style", try_finder, "either", each_layer=True),
    Promise("library code", try_library, "either"),
    Promise("submodule", try_submodule, "either"),
    Promise("inspect.getsource", try_source, "either"),
    Promise("edit", try_edit, "fresh"),
    Promise("late folder", try_late_folder, "either"),
    Promise("install while running", try_running, "either"),
    Promise("order above a copy", try_order, "either"),
    Promise("nothing else", try_refusal, "either", in_temporary_layer=True),
    Promise("pip", try_pip, "either"),
    Promise("workspace: path style", try_path, "either", "workspace"),
    Promise("workspace: finder style", try_finder, "either", "workspace"),
    Promise("workspace: library code", try_library, "either", "workspace"),
    Promise("workspace: late folder", try_late_folder, "either", "workspace"),
    Promise("byte-code cache", try_cache, "fresh", "workspace", needs_mount=True),
    Promise("mount left alone", try_spared_mount, "fresh", "workspace", needs_mount=True),
    Promise("path style", try_path, "here"),
    Promise("finder style", try_finder, "here"),
    Promise("library code", try_library, "here"),
    Promise("workspace: library code", try_library, "here", "workspace"),
    Promise("UDF", try_udf, "here", "workspace"),
)
