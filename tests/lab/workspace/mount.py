"""The workspace mount of a namespace, as a test controls it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.wheels import REPOSITORY
from tests.lab.workspace.namespace import Namespace, NamespaceError, end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = frozenset({"flush", "release", "releasedir", "statfs"})
"""The requests that are not counted: those that end a handle, and the file system's own figures."""
ERRORS = ("EACCES", "ENOTCONN", "EIO", "ENOENT")
"""What Databricks' mount is known to answer: no credential, a daemon that ended, a failure, and before it is ready."""


@dataclass(frozen=True)
class Call:
    """A request that reached the file system."""

    at: float
    """When, by `time.monotonic()`."""
    operation: str
    """Its name in FUSE; `getattr` is a question for a name as well."""
    path: str
    """Below the mount, with a slash before it."""
    tree: tuple[int, ...]
    """The process that asked, its parent, and so on."""
    name: str
    """The name of the process."""

    @property
    def pid(self) -> int:
        """The process that asked."""
        return self.tree[0]

    def __str__(self) -> str:
        return f"{self.operation} {self.path} by {self.name} ({self.pid})"


class Mount:
    """A file system, its process, and its switches."""

    def __init__(self, namespace: Namespace, backing: Path, mountpoint: str, *, cached: float = 0) -> None:
        """Mount a folder at a path of the namespace's root. The kernel may keep answers for `cached` seconds."""
        self.mountpoint = mountpoint
        command = [sys.executable, "-m", "tests.lab.workspace.filesystem", backing, f"{namespace.root}{mountpoint}"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        namespace.outside(mountpoint).mkdir(parents=True, exist_ok=True)
        environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        self._process = namespace.start([*command, cached], environ, root=False, **pipes)
        while not namespace.has_mount(mountpoint):
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise NamespaceError(self._process.stderr.read().strip())
            time.sleep(0.01)

    def break_with(self, error: str) -> None:
        """Answer every request with an error such as `EIO`."""
        self._ask(failure=getattr(errno, error))

    def heal(self) -> None:
        """Answer every request as it should be, at once."""
        self._ask(failure=0, hang=False, latency=0)

    def hang(self) -> None:
        """Answer no request until `release`."""
        self._ask(hang=True)

    def release(self) -> None:
        """Answer the requests that wait, and those that come."""
        self._ask(hang=False)

    def latency(self, milliseconds: float) -> None:
        """Let each answer take some time."""
        self._ask(latency=milliseconds / 1000)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Answer no request for a while."""
        self.hang()
        try:
            yield
        finally:
            self.release()

    @contextlib.contextmanager
    def broken(self, error: str) -> Iterator[None]:
        """Answer every request with an error for a while."""
        self.break_with(error)
        try:
            yield
        finally:
            self.heal()

    def mark(self) -> int:
        """Return a mark for `calls`."""
        return int(self._ask())

    def calls(self, since: int = 0, *, process: int | None = None) -> list[Call]:
        """List the remote calls since a mark, of every process or of one and those that it started."""
        found = [Call(at, name, path, tuple(tree), who) for at, name, path, tree, who in self._ask(calls=since)]
        return [call for call in found if call.operation not in LOCAL and (process is None or process in call.tree)]

    def close(self) -> None:
        """End the file system: every process that waits for it gets an error."""
        end(self._process)

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())
