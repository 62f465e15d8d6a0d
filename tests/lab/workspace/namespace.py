"""A mount namespace of the tests' own, and the processes in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.wheels import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.lab.interpreters import Interpreter


class NamespaceError(Exception):
    """This machine does not let us make a mount namespace, or a mount in it."""


class Namespace:
    """A root of its own for the processes of a node; the machine's is not changed."""

    def __init__(self, folder: Path, interpreter: Interpreter, shared: Sequence[Path]) -> None:
        """`shared` are the folders that are the same inside and outside."""
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.lab.workspace.hold"]
        self._holder = subprocess.Popen(
            [*command, str(folder), str(interpreter.python), *map(str, shared)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        self.root = Path(self._holder.stdout.readline().strip())
        """The root's path in the namespace, for a process that is in it but has the machine's root."""
        if self.root == Path():
            message = self._holder.stderr.read().strip().splitlines()
            self._holder.communicate()
            raise NamespaceError(message[-1] if message else "no message")
        self._processes: list[subprocess.Popen[str]] = []

    def outside(self, path: str | Path) -> Path:
        """Return the path by which the tests reach a file of the namespace, if no link on the way is absolute."""
        return Path(f"/proc/{self._holder.pid}/root{self.root}{path}")

    def has_mount(self, path: str) -> bool:
        """Return whether something is mounted at a path; what is mounted there is not asked."""
        lines = Path(f"/proc/{self._holder.pid}/mountinfo").read_text().splitlines()
        return f"{self.root}{path}" in {line.split()[4] for line in lines}

    def enter(self, *, root: bool = True, user: int | None = None) -> list[str]:
        """Return the command that runs another one in the namespace, with its root or with the machine's."""
        if self._holder.poll() is not None:
            msg = f"the namespace is gone: exit code {self._holder.returncode}"
            raise NamespaceError(msg)
        process = f"/proc/{self._holder.pid}"
        inside = f"{process}/root{self.root}"
        changed = [f"--root={inside}", f"--wd={inside}"] if root else []
        become = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return ["nsenter", f"--mount={process}/ns/mnt", *changed, *become]

    def start(
        self,
        command: Sequence[object],
        environ: Mapping[str, str] | None = None,
        *,
        root: bool = True,
        user: int | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a process that ends with the namespace, if not before."""
        process = subprocess.Popen(
            [*self.enter(root=root, user=user), *map(str, command)],
            env=None if environ is None else dict(environ),
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
            **options,
        )
        self._processes = [known for known in self._processes if known.poll() is None]
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every process in the namespace, and so its mounts. A file system has to be ended before."""
        if self._holder.poll() is not None:
            return
        for process in self._processes:
            end(process)
        mine = Path(f"/proc/{self._holder.pid}/ns/mnt").stat().st_ino
        for other in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (other / "ns/mnt").stat().st_ino == mine and int(other.name) != self._holder.pid:
                    os.kill(int(other.name), signal.SIGKILL)
        self._holder.communicate()


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process with the group that it leads, and close its pipes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
