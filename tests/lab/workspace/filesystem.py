"""The file system that stands for the workspace mount: `python -m tests.lab.workspace.filesystem BACKING MOUNTPOINT`.

It mirrors a folder through FUSE, and has what Databricks' mount has and a local disk has not: no links, an owner who
is always root, answers that come late or never, and errors that the credential causes. It logs each request with the
process that made it. Its parent controls it: each line of standard input is a request in JSON, each line of standard
output the answer. It ends when standard input does, and so never outlives the tests.

It does not run below its own mount point, and opens nothing there: it would wait for itself.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import mfusepy

Method = TypeVar("Method", bound=Callable[..., Any])


READDIRPLUS = 3 << 13
"""libfuse 3's flags for listings that come with what `stat` would answer."""


class Switches:
    """What the file system does with each request before it answers, and the log of all requests."""

    def __init__(self) -> None:
        self.failure = 0
        """The error number that each request is answered with; 0: it is answered as it should be."""
        self.latency = 0.0
        """Seconds that each answer takes."""
        self.passing = threading.Event()
        """Cleared while every request waits."""
        self.passing.set()
        self.log: list[tuple[float, str, str, list[int], str]] = []

    def record(self, operation: str, path: str) -> None:
        """Log a request as it arrives. The process waits for its answer, so it is still there to be asked about."""
        _, _, thread = mfusepy.fuse_get_context()
        tree, name = describe(thread)
        self.log.append((time.monotonic(), operation, path, tree, name))

    def hold(self) -> None:
        """Wait for as long as the answer takes, and raise the error that it is to be."""
        if self.latency:
            time.sleep(self.latency)
        self.passing.wait()
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))


def describe(thread: int) -> tuple[list[int], str]:
    """Return the process of a thread and its ancestors, and the name of the process."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
        process = int(status.partition("\nTgid:")[2].split(maxsplit=1)[0])
        tree = [process]
        name = ""
        while tree[-1] > 1:
            inner, _, rest = Path(f"/proc/{tree[-1]}/stat").read_text().rpartition(")")
            name = name or inner.partition("(")[2]
            tree.append(int(rest.split()[1]))
    except (OSError, ValueError):  # the kernel's own request, or a process that was killed
        return [thread], ""
    return tree, name


def remote(method: Method) -> Method:
    """Decorate a request that a remote file system would be asked: it is logged, late, and may fail."""

    @functools.wraps(method)
    def asked(self: Mirror, path: str, *arguments: Any) -> Any:
        self.switches.record(method.__name__, path)
        self.switches.hold()
        return method(self, path, *arguments)

    return asked  # type: ignore[return-value]


def local(method: Method) -> Method:
    """Decorate a request that is answered without a remote one: it is logged only."""

    @functools.wraps(method)
    def asked(self: Mirror, path: str, *arguments: Any) -> Any:
        self.switches.record(method.__name__, path)
        return method(self, path, *arguments)

    return asked  # type: ignore[return-value]


class Mirror(mfusepy.Operations):  # type: ignore[misc]
    """The requests. Each path starts with a slash, and is below the backing folder."""

    use_ns = True

    def __init__(self, backing: str, switches: Switches) -> None:
        self.backing = backing
        self.switches = switches

    def init_with_config(self, connection: Any, _configuration: Any) -> None:
        """Have a listing be names alone, as libfuse 2 has it. libfuse 3.14 takes no mount option for that."""
        if mfusepy.fuse_version_major > 2:
            connection.want &= ~READDIRPLUS

    def _at(self, path: str) -> Path:
        return Path(self.backing + path)

    @remote
    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        # A handle is not asked: a file that was removed while it is open is gone for a remote file system.
        del fh
        status = self._at(path).lstat()
        facts = {name: getattr(status, name) for name in ("st_nlink", "st_size", "st_ino", "st_blocks")}
        facts |= {name: getattr(status, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {**facts, "st_mode": status.st_mode | 0o777, "st_uid": 0, "st_gid": 0}

    @remote
    def opendir(self, path: str) -> int:
        return os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)

    @remote
    def readdir(self, path: str, fh: int) -> Iterable[str]:
        del path
        return [".", "..", *os.listdir(fh)]

    @remote
    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags & ~os.O_NOFOLLOW)

    @remote
    def create(self, path: str, mode: int, fi: None = None) -> int:
        del fi
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    @remote
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        del path
        return os.pread(fh, size, offset)

    @remote
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        del path
        return os.pwrite(fh, data, offset)

    @remote
    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._at(path) if fh is None else fh, length)

    @remote
    def fsync(self, path: str, datasync: int, fh: int) -> int:
        del path, datasync, fh
        return 0

    @remote
    def mkdir(self, path: str, mode: int) -> None:
        self._at(path).mkdir(mode)

    @remote
    def rmdir(self, path: str) -> None:
        self._at(path).rmdir()

    @remote
    def unlink(self, path: str) -> None:
        self._at(path).unlink()

    @remote
    def rename(self, old: str, new: str) -> None:
        self._at(old).rename(self._at(new))

    @remote
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self._at(path), ns=times or (time.time_ns(),) * 2)

    @remote
    def chmod(self, path: str, mode: int) -> int:
        del path, mode
        return 0  # accepted and forgotten

    @remote
    def chown(self, path: str, uid: int, gid: int) -> int:
        del path, uid, gid
        return 0

    @remote
    def symlink(self, target: str, source: str) -> int:
        del target, source
        raise OSError(errno.EOPNOTSUPP, "there are no links")

    @remote
    def link(self, target: str, source: str) -> int:
        del target, source
        raise OSError(errno.EOPNOTSUPP, "there are no links")

    @local
    def flush(self, path: str, fh: int) -> int:
        del path, fh
        return 0

    @local
    def release(self, path: str, fh: int) -> int:
        del path
        os.close(fh)
        return 0

    @local
    def releasedir(self, path: str, fh: int) -> int:
        del path
        os.close(fh)
        return 0

    @local
    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self._at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize")
        return {**{name: getattr(status, name) for name in names}, "f_namemax": 255}


def answer(request: dict[str, Any], switches: Switches) -> Any:
    """Do what the parent asks for, and return the answer."""
    if "failure" in request:
        switches.failure = request["failure"]
    if "latency" in request:
        switches.latency = request["latency"]
    if "hang" in request:
        (switches.passing.clear if request["hang"] else switches.passing.set)()
    return switches.log[request["calls"] :] if "calls" in request else len(switches.log)


def serve(switches: Switches) -> None:
    """Answer the parent until it ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), switches)), flush=True)
    os._exit(0)  # the kernel then answers every request that waits


def main() -> None:
    """Mount, and serve until standard input ends."""
    backing, mountpoint, cached = sys.argv[1:]
    switches = Switches()
    threading.Thread(target=serve, args=(switches,), daemon=True).start()
    options: dict[str, Any] = {"attr_timeout": float(cached), "entry_timeout": float(cached), "negative_timeout": 0}
    mfusepy.FUSE(
        Mirror(backing, switches), mountpoint, foreground=True, allow_other=True, fsname="wsfs", dev=True, **options
    )


if __name__ == "__main__":
    main()
