"""A node at the absolute paths that it has on a cluster, with a real FUSE file system as `/Workspace`.

    with Workspace(folder, interpreter, wheelhouse) as workspace:
        workspace.install_shim()
        done = workspace.notebook.run("import testx")
        assert done.calls == []

Everything is in a mount namespace of its own: nothing of it is at these paths of the machine.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.hooks import provide_hook
from tests.lab.kernel import provide_real_hook
from tests.lab.node import Node, Notebook
from tests.lab.wheels import REPOSITORY
from tests.lab.workspace.mount import Call, Mount
from tests.lab.workspace.namespace import Namespace, end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

    from tests.lab.interpreters import Interpreter

LINKED = "/.fuse-mounts/wsfs"
"""Where the mount is on clouds on which `/Workspace` is a link."""
USERS = {4001: "/home/one", 4002: "/home/two"}
"""Two users without rights, and their home folders."""
ROOT_HOME = "/root"


@dataclass
class Finished(subprocess.CompletedProcess[str]):
    """A process that ended, and what it asked the mount."""

    args: Sequence[str]
    returncode: int
    stdout: str
    stderr: str
    calls: list[Call]
    seconds: float


class RealNode(Node):
    """A node at the root of a namespace. Its paths are those of the processes on it, not of the tests."""

    def __init__(self, workspace: Workspace, interpreter: Interpreter, wheelhouse: Path) -> None:
        super().__init__(Path("/"), interpreter, wheelhouse, sitecustomize=True)
        self._workspace = workspace

    def run(
        self, command: Sequence[object], environ: Mapping[str, str] | None = None, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node."""
        return self._workspace.run(command, environ, check=check)

    def environ(self) -> dict[str, str]:
        """The environment of a node's processes. They write byte code, as Python does by itself."""
        changed = {"PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "PYTEST_DEBUG_TEMPROOT"}
        kept = {name: value for name, value in super().environ().items() if name not in changed}
        return kept | {"HOME": ROOT_HOME, "LC_ALL": "C.UTF-8"}

    @property
    def outside(self) -> Path:
        """The root, by the path that the tests have for it."""
        return self._workspace.namespace.outside("/")

    @property
    def past_the_mount(self) -> Node:
        """A node of which only the projects are there, by the paths that they have behind the mount."""
        outside = Node(self._workspace.files.parent, self.interpreter, self.wheelhouse, sitecustomize=True)
        outside.workspace = self._workspace.files
        return outside

    def copy_project(self, name: str, folder_name: str = "") -> Path:
        """Copy the sample project into a user's workspace folder, past the mount."""
        self.past_the_mount.copy_project(name, folder_name)
        return self.project(folder_name or name)

    def write(self, path: Path, text: str) -> None:
        """Write a file of the node."""
        self._workspace.outside(path).write_text(text)

    def _pip_once(self, arguments: list[str | Path], project: Path | None) -> None:
        del project
        self.pip(*arguments)


class Workspace:
    """A node, its mount, and the processes on it. Close it, or use it in a `with` block."""

    def __init__(
        self, folder: Path, interpreter: Interpreter, wheelhouse: Path, *, cached: float = 0, linked: bool = False
    ) -> None:
        """Build the node. Raises NamespaceError if this machine does not let us; see also `find_missing`."""
        self.files = folder / "files"
        """The folder that the mount mirrors."""
        self.shared = folder / "shared"
        """A folder that tests and processes have at the same path."""
        for path in (self.files, self.shared):
            path.mkdir(parents=True)
        folder.chmod(0o755)
        shared = [self.shared, wheelhouse, REPOSITORY]
        self.namespace = Namespace(folder, interpreter, shared)
        self.node = RealNode(self, interpreter, wheelhouse)
        try:
            self._build(interpreter, wheelhouse)
            self.mount = self._mount(cached, linked=linked)
            self.notebook = self.make_notebook()
            """A notebook for installs of its own."""
            self.plain_notebook = self.make_notebook()
            """A notebook that has only what the runtime has."""
        except BaseException:
            self.close()
            raise
        self.linked = linked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the file system, then all processes; the mounts go with the last of them."""
        if hasattr(self, "mount"):
            self.mount.close()
        self.namespace.close()

    def _build(self, interpreter: Interpreter, wheelhouse: Path) -> None:
        kind = "debian" if interpreter.debian else "plain"
        build = [sys.executable, "-m", "tests.lab.workspace.build", interpreter.minor, kind, wheelhouse]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DBX_"))}
        # Without byte code in the repository, which this process and the tests have under the same path.
        done = self._execute(build, kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(REPOSITORY)})
        if done.returncode:
            msg = f"the node could not be built:\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        for uid, home in USERS.items():
            self.outside(home).mkdir(parents=True, exist_ok=True, mode=0o755)
            os.chown(self.outside(home), uid, uid)
            with self.outside("/etc/passwd").open("a") as passwd:
                passwd.write(f"{Path(home).name}:x:{uid}:{uid}::{home}:/bin/sh\n")

    def _mount(self, cached: float, *, linked: bool) -> Mount:
        place = self.outside("/Workspace")
        if place.is_symlink():
            place.unlink()
        if linked:
            if place.exists():
                place.rmdir()
            place.symlink_to(LINKED)
        return Mount(self.namespace, self.files, LINKED if linked else "/Workspace", cached=cached)

    def remount(self, *, cached: float = 0, linked: bool | None = None) -> Mount:
        """Mount anew: nothing is cached. The kernel may then keep answers for `cached` seconds."""
        self.mount.close()
        unmount = self.namespace.start(
            ["umount", "--lazy", f"{self.namespace.root}{self.mount.mountpoint}"], root=False
        )
        assert unmount.wait(60) == 0
        self.linked = self.linked if linked is None else linked
        self.mount = self._mount(cached, linked=self.linked)
        return self.mount

    def outside(self, path: str | Path) -> Path:
        """Return the path by which the tests reach a file of the node, or one behind the mount."""
        for mountpoint in ("/Workspace", LINKED):
            if Path(path).is_relative_to(mountpoint) and str(path) != mountpoint:
                return self.files / Path(path).relative_to(mountpoint)
        return self.namespace.outside(path)

    def make_notebook(self) -> RealNotebook:
        """Make another notebook's environment."""
        return RealNotebook(self.node, self.node.make_notebook().environment, self)

    def install_shim(self) -> None:
        """Install the package and the shim, as an init script does."""
        self.node.install_dbx_patch()
        self.node.install_shim()

    def provide_hook(self, real_hook: Path) -> None:
        """Put Databricks' published hook in place for notebooks and kernels, see `tests.lab.hooks.place_hook`."""
        place = Path("/databricks/published_hook")
        shutil.copytree(real_hook, self.outside(place), dirs_exist_ok=True)
        provide_real_hook(self.node, real_hook)
        provide_hook(self.node, place)

    def give(self, user: int, *paths: Path) -> None:
        """Make files and folders a user's own, with all below them."""
        self.run(["chown", "--recursive", f"{user}:{user}", *paths], check=True)

    def environ(self, user: int | None = None) -> dict[str, str]:
        """The environment of a user's processes; None is root."""
        return self.node.environ() | ({} if user is None else {"HOME": USERS[user]})

    def run(
        self,
        command: Sequence[object],
        environ: Mapping[str, str] | None = None,
        *,
        user: int | None = None,
        check: bool = False,
        timeout: float = 120,
    ) -> Finished:
        """Run a command on the node as root or another user. Raises TimeoutExpired; nothing of it is left then."""
        __tracebackhide__ = True
        done = self._execute(command, self.environ(user) | dict(environ or {}), user=user, timeout=timeout)
        if check and done.returncode:
            msg = f"exit code {done.returncode}: {' '.join(done.args)}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done

    def _execute(
        self, command: Sequence[object], environ: Mapping[str, str], user: int | None = None, timeout: float = 300
    ) -> Finished:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        mount = getattr(self, "mount", None)
        mark = mount.mark() if mount else 0
        started = time.monotonic()
        process = self.namespace.start(command, environ, user=user, **pipes)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            if mount:
                mount.release()  # a process that waits for it can't be killed
            end(process)
            raise
        seconds = time.monotonic() - started
        calls = mount.calls(mark, process=process.pid) if mount else []
        return Finished([*map(str, command)], process.returncode, stdout, stderr, calls, seconds)

    def start(
        self,
        command: Sequence[object],
        environ: Mapping[str, str] | None = None,
        *,
        user: int | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a process on the node, with pipes. It ends with the workspace, if not before."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self.namespace.start(command, self.environ(user) | dict(environ or {}), user=user, **(pipes | options))


@dataclass(frozen=True)
class RealNotebook(Notebook):
    """A notebook on such a node."""

    workspace: Workspace

    def run(
        self,
        code: str,
        environ: Mapping[str, str] | None = None,
        *,
        user: int | None = None,
        check: bool = False,
        timeout: float = 120,
    ) -> Finished:
        """Run code in a fresh interpreter of this notebook."""
        command = [self.python, "-c", code]
        return self.workspace.run(command, self.environ | dict(environ or {}), user=user, check=check, timeout=timeout)


def find_missing() -> str:
    """Return what this machine lacks for a workspace, or an empty string."""
    if os.geteuid() != 0:
        return "root, which is needed to mount a file system"
    if not Path("/dev/fuse").exists():
        return "FUSE: there is no /dev/fuse"
    if not (ctypes.util.find_library("fuse3") or ctypes.util.find_library("fuse")):
        return "libfuse (Debian's fuse3)"
    for tool in ("unshare", "nsenter", "setpriv"):
        if not shutil.which(tool):
            return tool
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, check=False)
    return "mount namespaces" if done.returncode else ""
