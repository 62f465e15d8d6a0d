"""Asks the mounts that folders are on whether they answer, with a time limit, before anything below them is touched.

`/Workspace` and its like are FUSE mounts. One that does not answer would have a command wait for ever: a process that
waits for a FUSE file system can't even be killed. So a child process asks, and is left behind if it gets no answer.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dbx_patch import sitecustomize_template
from dbx_patch.sitecustomize_template import forget_mounts, list_mounts, template

MOUNTS = tuple(mount.rstrip("/") for mount in template.MOUNTS)
"""The folders that Databricks mounts. In the second one are mounts; `/Workspace` is a link to one on some clouds."""
MOST_STEPS = 200
"""Parts and links that are followed in one path. Links can form a circle."""
SECONDS = 2.0
"""How long a mount has time to answer."""
START_SECONDS = 30.0
"""How long the child process has time to start, which takes some 20 ms on an idle machine."""
REFUSED = (errno.EACCES, errno.EPERM)
"""How a mount answers a process that has no credential for it."""

MountState = Literal["answers", "does not answer", "no credential", "away"]
"""The state of a mount:

- answers: it can be used;
- does not answer: a process that asks it for something waits;
- no credential: it answers others, and refuses this process;
- away: it is not there, or answers with errors.
"""


class Trouble(NamedTuple):
    """A folder whose mount does not answer as it should."""

    folder: str
    mount: str
    state: MountState

    def __str__(self) -> str:
        return describe(self.mount, self.state)


WORDS: dict[MountState, str] = {
    "answers": "answers",
    "does not answer": "does not answer",
    "no credential": "refuses this process, which has no credential for it yet",
    "away": "is away",
}
"""How a mount in each state is described."""

ASK = """
import os, sys
folder, name = sys.argv[1:]
print("started", flush=True)
try:
    os.stat(folder)
    os.lstat(folder + "/" + name)
except FileNotFoundError as error:
    print(error.errno if error.filename == folder else 0)  # nobody has that name
except OSError as error:
    print(error.errno)
else:
    print(0)
"""
"""What the child process runs. It asks for a name that nobody has asked for: the kernel may know the folder's state."""

answers: dict[str, MountState] = {}
"""Each mount that was asked since the command began, and its state."""
abandoned: list[subprocess.Popen[bytes]] = []
"""The child processes that still wait for a mount."""


def begin_asking() -> None:
    """Forget the answers that a former command got: mounts come and go."""
    answers.clear()
    if sys.platform == "linux":
        forget_mounts()


# Which mount a path is on


def name_mount(path: str) -> str:
    """Return the mount point that a path is on, by its name; empty if it is on the machine's own disk.

    No mount is asked, and no link is followed.
    """
    mount = sitecustomize_template.find_mount(path)
    return "/".join(path.split("/")[:3]) if mount == "/.fuse-mounts" else mount


def find_mount(path: str) -> str:
    """Return the mount point that a path is on when all links are followed; empty if it is on none."""
    return name_mount(follow(path))


def follow(path: str) -> str:
    """Return a path with its links followed up to the first mount on its way. No mount is asked.

    `realpath` would ask the mounts about each part of the path.
    """
    if not path.startswith("/"):
        try:
            path = f"{os.getcwd()}/{path}"  # noqa: PTH109  # a string
        except OSError:  # the folder was deleted
            return path
    waiting, here = path.split("/")[:0:-1], ""
    for _ in range(MOST_STEPS):
        if not waiting:
            break
        name = waiting.pop()
        if name in {"", "."}:
            continue
        here = here.rpartition("/")[0] if name == ".." else f"{here}/{name}"
        if name_mount(here) and (here not in MOUNTS or is_mount_point(here)):
            break
        try:
            target = os.readlink(here)  # noqa: PTH115  # the text of the link, as it is
        except (OSError, ValueError):  # it is not a link
            continue
        here = "" if target.startswith("/") else here.rpartition("/")[0]
        waiting += reversed(target.split("/"))
    return "/".join([here, *reversed(waiting)]) or "/"


def is_mount_point(folder: str) -> bool:
    """Return whether a file system is mounted at a folder; True if the kernel does not say. The folder is not asked."""
    known = [each for each, _ in list_mounts()]
    return folder in known or not known


# Asking


def ask_mount(folder: str, seconds: float = SECONDS) -> MountState:
    """Ask a mount about a folder, from a child process, and return its state: at the latest after some seconds.

    The child process can't be ended before the mount answers. Nothing of ours waits for it, and it holds nothing of
    ours open. It stays a child of this process: Databricks gives the credential to the descendants of some processes.
    """
    abandoned[:] = [process for process in abandoned if process.poll() is None]
    command = [sys.executable, "-I", "-S", "-c", ASK, folder, f".dbx-patch-{secrets.token_hex(8)}"]
    try:
        process = subprocess.Popen(
            command,
            bufsize=0,
            cwd="/",  # this process's folder may be on the mount
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # the machine has no room for a process, and the mount may well be there
        return "answers"
    started, answer = read_lines(process, (START_SECONDS, seconds))
    if started is None or answer is None:
        process.kill()
        abandoned.append(process)
        return "does not answer"
    process.wait()
    code = int(answer or 0)
    return "answers" if not code else "no credential" if code in REFUSED else "away"


def read_lines(process: subprocess.Popen[bytes], limits: Iterable[float]) -> list[bytes | None]:
    """Return a line of a process's output for each limit, or None if there was none within these seconds."""
    lines: list[bytes | None] = []
    output: Any = process.stdout
    with output:
        poll = select.poll()  # unlike `select`, for any number of open files
        poll.register(output, select.POLLIN)
        for limit in limits:
            in_time = None not in lines and poll.poll(limit * 1000)
            lines.append(output.readline() if in_time else None)
    return lines


def find_state(path: str) -> MountState:
    """Return the state of the mount that a path is on, which is asked once in a command.

    On other machines than Linux, where only init scripts and wheels are written, there is no mount of a node to ask.
    """
    mount = find_mount(path) if sys.platform == "linux" else ""
    if not mount:
        return "answers"
    if mount not in answers:
        answers[mount] = ask_mount(mount)
    return answers[mount]


def ask_mounts(paths: Iterable[str]) -> dict[str, MountState]:
    """Return the mounts that some paths are on, each with its state."""
    return {mount: find_state(mount) for mount in map(find_mount, paths) if mount}


def hangs(path: str) -> bool:
    """Return whether a path is on a mount that does not answer. Nothing may touch the path then."""
    return find_state(path) == "does not answer"


def find_troubles(folders: Iterable[str]) -> tuple[Trouble, ...]:
    """Return the folders that are on a mount which does not answer as it should, each with the mount and its state."""
    found = ((folder, find_mount(folder), find_state(folder)) for folder in folders)
    return tuple(Trouble(*each) for each in found if each[2] != "answers")


def any_hangs() -> bool:
    """Return whether one of the mounts that were asked in this command does not answer."""
    return "does not answer" in answers.values()


def describe(mount: str, state: MountState) -> str:
    """Return the state of a mount in words."""
    return f"the mount {mount} {WORDS[state]}"


# The file system's answers, without a call to a mount that does not answer


def is_folder(path: str) -> bool:
    """Return whether a path is a folder; False if that can't be found out."""
    return not hangs(path) and os.path.isdir(path)  # noqa: PTH112  # pathlib's raises what a mount answers


def is_file(path: str) -> bool:
    """Return whether a path is a file; False if that can't be found out."""
    return not hangs(path) and os.path.isfile(path)  # noqa: PTH113  # likewise


def list_folder(path: str) -> list[str]:
    """Return the names in a folder, sorted; none if it can't be listed."""
    try:
        return [] if hangs(path) else sorted(os.listdir(path))  # noqa: PTH208  # names, not paths
    except OSError:
        return []


def resolve(path: str) -> Path:
    """Return a path with its links followed, or up to a mount that does not answer."""
    return Path(follow(path) if hangs(path) else os.path.realpath(path))
