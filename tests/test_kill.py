"""An installer that is killed at any moment: Python starts, and the next run finishes the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer._render import fill

from tests.lab.trace import require

if TYPE_CHECKING:
    from tests.lab.node import Node

CALLS = ("write", "fsync", "fchmod", "fchown", "utimensat", "chmod", "mkdir", "rename", "unlink", "rmdir")
"""The system calls that change something."""
ALIVE = (
    "import sys, sitecustomize; print(sitecustomize.a_distribution_was_here, 'dbx_patch_sitecustomize' in sys.modules)"
)

pytestmark = [
    pytest.mark.pythons("3.12"),  # the installer's calls are the same on every Python, and there are many
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
]


@pytest.mark.parametrize("command", ["install", "upgrade", "uninstall"])
def test_killed_before_and_after_any_change_it_leaves_a_python_that_starts(node: Node, command: str) -> None:
    """It is killed as it enters each call, which is after the one before."""
    node.install_dbx_patch()
    before = node.snapshot()
    killed = 0
    for call in CALLS:
        at = 1
        while kill(node, command, call, at):
            started = node.run([node.python, "-c", ALIVE])
            assert started.stderr == "", (call, at)
            assert started.stdout in {"True True\n", "True False\n"}, (call, at)
            # Every other time it is not finished but given up.
            finish = "dbx_patch.install" if command != "uninstall" and at % 2 else "dbx_patch.uninstall"
            assert node.dbx_patch(finish).returncode == 0, (call, at)
            assert node.run([node.python, "-c", ALIVE]).stdout == f"True {finish == 'dbx_patch.install'}\n"
            assert node.dbx_patch("dbx_patch.uninstall").returncode == 0
            assert node.snapshot() == before, (call, at)
            killed += 1
            at += 1
    print(f"killed {killed} times")
    assert killed > 10


def kill(node: Node, command: str, call: str, at: int) -> bool:
    """Run an installer and kill it as it makes a call for the nth time; tell whether it came to that."""
    if command != "install":
        assert node.dbx_patch("dbx_patch.install").returncode == 0
    if command == "upgrade":
        for file in node.layer(node.runtime).glob("dbx_patch_sitecustomize*.py"):
            file.write_bytes(fill(file.read_text(), {"VERSION": "0.0.1"}))
    module = "dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install"
    inject = [require("strace"), "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={at}"]
    done = node.run([*inject, node.python, "-m", module], check=False)
    if done.returncode == 0:
        node.dbx_patch("dbx_patch.uninstall")
    return done.returncode != 0
