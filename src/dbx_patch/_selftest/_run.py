"""Runs the self-test: looks at the place, tries each promise there, and removes everything."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch import installer
from dbx_patch._mounts import WORDS, ask_mounts, begin_asking, find_mount, find_state, resolve
from dbx_patch._process import find_shim
from dbx_patch._selftest._processes import LIMIT, BrokenError, Fresh, Here
from dbx_patch._selftest._promises import PROMISES, THIS_PROCESS_ONLY, Layer, NotApplicableError, Promise, Trial
from dbx_patch._selftest._report import Row, SelfTest, State, describe_start, draw
from dbx_patch._selftest._scratch import Interrupts, Scratch, forget
from dbx_patch.sitecustomize_template import template

LOOK = """
import sys
site = sys.modules.get("site")
live = sys.modules.get("dbx_patch_sitecustomize")
answer = {
    "path": [entry for entry in sys.path if isinstance(entry, str)],
    "opened": [*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""] if site else [],
    "live": live.VERSION if getattr(live, "started", False) else "",
}
"""
"""What an interpreter is asked first."""
WORKSPACES = ("/Workspace", "/.fuse-mounts/")
NO_NOTEBOOK = "this is a command; call dbx_patch.selftest() in the notebook"
NO_WORKSPACE = "neither the current folder nor the user's own is on a workspace mount and writable; name one to use it"
NO_MOUNT = "the folder is not on a mount"


class Watcher:
    """What is told how the self-test goes: it prints that."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """`say` prints some lines."""
        self.say = say

    def begin(self, live: str, folders: tuple[str, ...]) -> None:
        """Say which shim is live, and which folders will be written to. Nothing has been written by now."""
        self.say(describe_start(live, folders))

    def add(self, row: Row) -> None:
        """Take a row that is done."""
        self.say(str(row))

    def end(self, result: SelfTest) -> None:
        """Take the result."""
        self.say(result.describe_end())

    def left(self, what: str) -> None:
        """Take what could not be removed, after an interrupt or an error."""
        self.say(f"could not be removed: {what}")


class Drawing(Watcher):
    """Draws the table in a notebook as it grows. At the end only a line is left: the notebook shows the result."""

    def __init__(self, display: Any) -> None:
        """`display` is IPython's module of that name."""
        super().__init__(print)
        self.display = display
        self.handle = display.display(display.HTML("The self-test starts …"), display_id=True)
        self.rows: list[Row] = []

    def begin(self, live: str, folders: tuple[str, ...]) -> None:
        self.live, self.folders = live, folders
        self.update(draw(live, folders, [], "…"))

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.update(draw(self.live, self.folders, self.rows, f"{len(self.rows)} done …"))

    def end(self, result: SelfTest) -> None:
        self.update(result.summary)

    def update(self, html: str) -> None:
        """Replace what is shown."""
        self.handle.update(self.display.HTML(html))


def selftest(folder: str = "") -> SelfTest:
    """Try each promise of dbx-patch here, in fresh interpreters and in this process, and return which ones hold.

    It writes throw-away projects into a temporary folder and into `folder`, by default the current folder or the user's
    own if that is on a workspace mount, and installs them editable into the layers that this user can write. Everything
    is removed again, also if it is interrupted. A notebook shows how it goes; elsewhere, lines are printed to stderr.
    The first lines name what is written to.

    Raises OSError if there is no folder for temporary files.
    """
    ipython = sys.modules.get("IPython")
    display = sys.modules.get("IPython.display") if ipython and ipython.get_ipython() else None
    watcher = Drawing(display) if display else Watcher(lambda text: print(text, file=sys.stderr, flush=True))
    return run_selftest(folder, watcher, here=True)


def run_selftest(folder: str, watcher: Watcher, *, here: bool) -> SelfTest:
    """Do what `selftest` does, and tell `watcher` how it goes. Without `here`, this process is left out."""
    begin_asking()
    place = look_around(folder, here=here)
    folders, rows = place.folders, []
    with Interrupts() as interrupts:
        try:
            try:
                watcher.begin(place.live, folders)
                if not place.hanging:
                    place.prepare()
                for row in place.try_all():
                    rows.append(row)
                    watcher.add(row)
            finally:
                interrupts.hold = True
        finally:  # also if a signal came right before that
            forget(place.scratch.token, find_shim())
            left = place.scratch.remove()
            for each in left if sys.exc_info()[0] else ():
                watcher.left(each)
        result = SelfTest(place.live, folders, tuple(rows), left)
        watcher.end(result)
    return result


@dataclass(slots=True)
class Place:
    """Where the self-test runs, and what it can write there."""

    live: str
    """Which shim runs, in words."""
    here: bool
    """Whether this process is tried as well."""
    is_here_only: bool
    """Whether the shim runs in this process, and in no fresh interpreter."""
    temporary: Path
    """The folder for temporary files; once it is prepared, our own folder in it."""
    workspace: Path | None
    """A folder on a workspace mount, or the one that the user named; later our own folder in it."""
    layers: tuple[Layer, ...]
    hanging: str
    """A mount that does not answer, if an entry of the path is on one: each import could wait for it."""
    no_workspace: str
    """Why there is no such folder, if there is none."""
    scratch: Scratch = field(default_factory=Scratch)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that will be written to."""
        if self.hanging:
            return ()
        own = [self.temporary, *([self.workspace] if self.workspace else [])]
        return (*map(str, own), *(layer.path for layer in self.layers if not layer.obstacle))

    @property
    def own_layer(self) -> Layer:
        """A temporary layer. Any user can write it, and no other process has it on its path."""
        return Layer(str(self.temporary / "site-packages"))

    def prepare(self) -> None:
        """Make our own folders. Raises OSError."""
        self.temporary = self.scratch.make_base(self.temporary)
        for name in ("empty", "site-packages"):
            self.temporary.joinpath(name).mkdir()
        if self.workspace:
            try:
                self.workspace = self.scratch.make_base(self.workspace)
            except OSError as error:
                self.workspace, self.no_workspace = None, f"the folder can't be written: {error.strerror}"

    def try_all(self) -> Iterator[Row]:
        """Try each promise in each place that it is for."""
        tried = set()
        for promise in PROMISES:
            is_here = promise.process == "here" or (promise.process == "either" and self.is_here_only)
            key = (promise.attempt, promise.projects, is_here)
            if is_here and key in tried and not promise.each_layer:
                continue
            tried.add(key)
            process = self.make_process(is_here=is_here)
            layers = [*self.layers, self.own_layer] if promise.each_layer else [self.choose_layer(promise, process)]
            for layer in layers:
                yield self.try_one(promise, process, layer)

    def make_process(self, *, is_here: bool) -> Fresh | Here:
        """Return what code runs in."""
        layer = Path(self.own_layer.path)
        return Here(layer) if is_here else Fresh(self.temporary / "empty", layer)

    def choose_layer(self, promise: Promise, process: Fresh | Here) -> Layer:
        """Return a layer that Python itself does not open: one that is there, or else ours."""
        usable = [layer for layer in self.layers if not (layer.obstacle or layer.is_opened or find_mount(layer.path))]
        if promise.in_temporary_layer or not usable or (isinstance(process, Here) and usable[0].path not in sys.path):
            return self.own_layer
        return usable[0]

    def check_obstacles(self, promise: Promise, layer: Layer) -> None:
        """Raise NotApplicableError if a promise can't be tried in a layer."""
        reason = layer.obstacle
        if self.hanging:
            reason = f"imports could wait for a mount that does not answer: {self.hanging}"
        elif promise.process == "here" and not self.here:
            reason = NO_NOTEBOOK
        elif promise.process == "fresh" and self.is_here_only:
            reason = THIS_PROCESS_ONLY
        elif promise.projects == "workspace" and not self.workspace:
            reason = self.no_workspace
        elif promise.needs_mount and not find_mount(str(self.workspace)):
            reason = NO_MOUNT
        if reason:
            raise NotApplicableError(reason)

    def try_one(self, promise: Promise, process: Fresh | Here, layer: Layer) -> Row:
        """Try a promise in one place."""
        folder = self.workspace if promise.projects == "workspace" and self.workspace else self.temporary
        trial = Trial(self.scratch, process, layer, folder, self.temporary, self.layers)
        state: State = "passed"
        detail = evidence = ""
        started = time.monotonic()
        try:
            self.check_obstacles(promise, layer)
            promise.attempt(trial)
        except NotApplicableError as reason:
            state, detail = "not applicable", str(reason)
        except BrokenError as error:
            state, (detail, evidence) = "failed", error.args
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            state, detail = "not applicable", f"it could not be tried: {error.strerror}{place}"
        except subprocess.TimeoutExpired:
            state, detail = "failed", f"it did not end within {LIMIT:.0f} seconds"
        finally:
            if isinstance(process, Here):
                forget(self.scratch.token, find_shim())
            self.scratch.clear()
        seconds = time.monotonic() - started
        where = str(folder if promise.projects == "workspace" else trial.layer.path)
        return Row(promise.name, process.title, where, state, detail, evidence, seconds, trial.calls)


def look_around(folder: str, *, here: bool) -> Place:
    """Look at the place, and write nothing. Raises OSError if there is no folder for temporary files."""
    temporary = Path(tempfile.gettempdir()).resolve()
    space: dict[str, Any] = {}
    exec(LOOK, space)  # noqa: S102  # what fresh interpreters are asked
    try:
        fresh = Fresh(Path("/"), None).run(LOOK).value
    except BrokenError as error:
        msg = "; ".join(filter(None, (f"{sys.executable} does not start: {error.args[0]}", error.args[1])))
        raise OSError(msg) from None
    is_here_only = here and bool(space["answer"]["live"]) and not fresh["live"]
    found = space["answer"] if is_here_only else fresh
    layers = [
        Layer(path, path in found["opened"], find_layer_obstacle(path))
        for path in dict.fromkeys(found["path"])
        if template.is_layer(path)
    ]
    live = f"Fresh interpreters: {describe_fresh(fresh['live'])}\nPython: {sys.executable}"
    if here:
        live = f"This process: {describe_live(space['answer']['live'])}.\n{live}"
    hanging = next((mount for mount, state in ask_mounts(found["path"]).items() if state == "does not answer"), "")
    workspace, no_workspace = (resolve(folder), "") if folder else (find_workspace(), NO_WORKSPACE)
    if folder and find_state(folder) != "answers":
        workspace, no_workspace = None, f"the mount of that folder {WORDS[find_state(folder)]}"
    return Place(live, here, is_here_only, temporary, workspace, tuple(layers), hanging, no_workspace)


def describe_live(version: str) -> str:
    """Return which version of the shim is live, in words."""
    return f"dbx-patch {version} is live" if version else "dbx-patch is not live"


def describe_fresh(version: str) -> str:
    """Return which version of the shim is live in fresh interpreters, its slot, and on a line of its own its file."""
    with contextlib.suppress(installer.InstallerError):
        status = installer.status(sys.executable) if version else None
        if status and status.file:
            return f"{describe_live(version)}{f' (slot {status.slot})' if status.slot else ''}.\nShim: {status.file}"
    return f"{describe_live(version)}."


def find_layer_obstacle(path: str) -> str:
    """Return why nothing can be installed into a layer; empty if it can."""
    if find_state(path) != "answers":
        return "its mount does not answer"
    if not os.path.isdir(path):  # noqa: PTH112  # pathlib's raises what a mount answers
        return "there is no such folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return "this user can't write it"
    return "it is world-writable, so dbx-patch ignores it" if os.stat(path).st_mode & 0o002 else ""  # noqa: PTH116


def find_workspace() -> Path | None:
    """Return the current folder, or the user's own, if it is on a workspace mount and can be written."""
    try:
        candidates = [os.getcwd(), os.environ.get("HOME", ""), f"/Workspace/Users/{getpass.getuser()}"]  # noqa: PTH109
    except (KeyError, OSError):  # the folder was deleted, or the user has no name
        return None
    for path in filter(None, candidates):
        mount = find_mount(path)
        if mount.startswith(WORKSPACES) and find_state(path) == "answers" and os.access(path, os.W_OK | os.X_OK):
            return Path(path)
    return None
