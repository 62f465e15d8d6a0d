"""A system that fails at any moment: Python starts, nothing is half done, and the next run finishes the job.

Disks are full and read-only, files immutable. Where a call has to fail that can't be had otherwise, `strace` has the
kernel answer so, or kill the process there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import count
from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer.shim_files import fill

from tests.lab.disks import disk_in_memory, immutable
from tests.lab.node import Node
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.interpreters import Interpreter

CALLS = ("write", "fsync", "fchmod", "fchown", "utimensat", "chmod", "mkdir", "link", "rename", "unlink", "rmdir")
"""The system calls that change something."""
STARTS = "import sys, sitecustomize as s; print(s.a_distribution_was_here, 'dbx_patch_sitecustomize' in sys.modules)"
PAGE = 4096
"""Bytes; what a file takes of a disk comes in these."""

pytestmark = [
    pytest.mark.pythons("3.12"),  # the installer's calls are the same on every Python, and there are many
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
    pytest.mark.real("disks and kernels that fail"),
]
each_command = pytest.mark.parametrize("command", ["install", "upgrade", "uninstall"])


@pytest.fixture
def ready(node: Node, tmp_path: Path) -> Node:
    """A node with the package, whose temporary folder is its own: a process that is killed leaves something there."""
    node.install_dbx_patch()
    (tmp_path / "scratch").mkdir()
    return node


@pytest.fixture
def small_node(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    tmp_path: Path,
) -> Iterator[Node]:
    """A node on a disk of its own, in memory."""
    root = tmp_path.resolve() / "node"
    with disk_in_memory(root, "size=400m"):
        node = Node(root, interpreter, wheelhouse, sitecustomize=sitecustomize).build()
        node.install_dbx_patch()
        yield node


def prepare(node: Node, command: str) -> None:
    """Bring a node to where a command begins."""
    if command != "install":
        assert node.dbx_patch("dbx_patch.install").returncode == 0
    if command == "upgrade":
        for file in node.layer(node.runtime).glob("dbx_patch_sitecustomize*.py"):
            file.write_bytes(fill(file.read_text(), {"VERSION": "0.0.1"}))


def inject(node: Node, command: str, fault: str) -> tuple[int, str]:
    """Run a command with a fault; return its exit code and what it wrote to stderr."""
    module = "dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install"
    strace = [require("strace"), "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    scratch = {"TMPDIR": str(node.root.parent / "scratch")}
    done = node.run([*strace, node.python, "-m", module], scratch, check=False)
    return done.returncode, done.stderr


def is_live(node: Node) -> bool:
    """See that Python starts, and the foreign `sitecustomize` runs; tell whether the shim does."""
    started = node.run([node.python, "-c", STARTS])
    assert started.stderr == ""
    assert started.stdout in {"True True\n", "True False\n"}
    return started.stdout == "True True\n"


@each_command
def test_killed_before_and_after_any_change_it_leaves_a_python_that_starts(ready: Node, command: str) -> None:
    """It is killed as it enters each call, which is after the one before."""
    before = ready.snapshot()
    killed = 0
    for call in CALLS:
        for at in count(1):
            prepare(ready, command)
            if inject(ready, command, f"{call}:signal=SIGKILL:when={at}")[0] == 0:
                break
            killed += 1
            is_live(ready)
            if command != "uninstall" and at % 2:  # else it is not finished but given up
                assert ready.dbx_patch("dbx_patch.install").returncode == 0, (call, at)
                assert is_live(ready), (call, at)
            assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0, (call, at)
            assert ready.snapshot() == before, (call, at)
        ready.dbx_patch("dbx_patch.uninstall")
    print(f"killed {killed} times")
    assert killed > 30


@each_command
def test_a_disk_that_does_not_keep_what_is_written(ready: Node, command: str) -> None:
    """It is written, and then `fsync` has an error: the last word of a disk that fails."""
    prepare(ready, command)
    before = ready.snapshot()
    for at in count(1):
        code, said = inject(ready, command, f"fsync:error=EIO:when={at}")
        if code == 0:
            break
        assert "Input/output error" in said
        assert len(said.splitlines()) == 1
        assert ready.snapshot() == before, at
    assert at > 10


@each_command
def test_disk_that_is_full_by_any_number_of_bytes(small_node: Node, command: str) -> None:
    prepare(small_node, command)
    before = small_node.snapshot()
    filler = small_node.root / "filler"
    for pages in count():
        free = shutil.disk_usage(small_node.root).free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - pages * PAGE)
        module = "dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install"
        done = small_node.dbx_patch(module)
        filler.unlink()
        if done.returncode == 0:
            break
        assert "No space left on device" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert small_node.snapshot() == before, pages
    assert pages
    assert is_live(small_node) == (command != "uninstall")


@each_command
def test_read_only_disk(small_node: Node, command: str) -> None:
    prepare(small_node, command)
    before = small_node.snapshot()
    subprocess.run(["mount", "-o", "remount,ro", small_node.root], check=True)
    done = small_node.dbx_patch("dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install")
    subprocess.run(["mount", "-o", "remount,rw", small_node.root], check=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Read-only file system" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert small_node.snapshot() == before


def test_immutable_sitecustomize_is_gone_around(ready: Node) -> None:
    before = ready.snapshot()
    with immutable(ready.root / "etc" / ready.version / "sitecustomize.py"):
        done = ready.dbx_patch("dbx_patch.install")

        assert done.returncode == 0
        assert "Operation not permitted" in done.stdout
        assert "good for this environment alone" in done.stdout
        assert is_live(ready)
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before


@each_command
def test_immutable_layer(ready: Node, command: str) -> None:
    prepare(ready, command)
    before = ready.snapshot()
    with immutable(ready.layer(ready.runtime)):
        done = ready.dbx_patch("dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install")

    assert (done.returncode, done.stdout) == (1, "")
    assert "Operation not permitted" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert ready.snapshot() == before


def test_immutable_shim_is_not_left_half_removed(ready: Node) -> None:
    prepare(ready, "uninstall")
    before = ready.snapshot()
    with immutable(ready.layer(ready.runtime) / "dbx_patch_sitecustomize_hooks.py"):
        done = ready.dbx_patch("dbx_patch.uninstall")

    assert (done.returncode, done.stdout) == (1, "")
    assert "dbx_patch_sitecustomize_hooks.py: Operation not permitted" in done.stderr
    assert ready.snapshot() == before


@pytest.mark.parametrize("fault", ["flock:error=ENOLCK", "flock:error=EOPNOTSUPP", "link:error=EPERM"])
def test_disk_without_locks_or_second_names(ready: Node, fault: str) -> None:
    """As some NFS mounts are, and FUSE's."""
    before = ready.snapshot()

    assert inject(ready, "install", fault) == (0, "")
    status = json.loads(ready.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (is_live(ready), status["slot"]) == (True, 2)
    assert inject(ready, "uninstall", fault) == (0, "")
    assert ready.snapshot() == before


def test_out_of_descriptors(ready: Node) -> None:
    before = ready.snapshot()
    outcomes = []
    for limit in range(3, 16):
        done = ready.run(["sh", "-c", f"ulimit -n {limit}; exec '{ready.python}' -m dbx_patch.install"], check=False)
        outcomes.append(done.returncode)
        if done.returncode == 0:
            break
        if "Traceback" in done.stderr:  # of Python itself, which can't load a module
            assert "dbx_patch/installer" not in done.stderr.splitlines()[-3], done.stderr
        assert ready.snapshot() == before, limit
    assert outcomes[-1] == 0
    assert outcomes.count(1) > 1
    assert is_live(ready)
