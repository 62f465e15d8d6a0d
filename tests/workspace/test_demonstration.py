"""The demonstration of the workspace mount runs as documented."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab.wheels import REPOSITORY
from tests.lab.workspace.mount import ERRORS

pytestmark = [pytest.mark.matrix, pytest.mark.real("workspace mounts")]


def test_demonstration_shows_calls_and_outages(mountable: None) -> None:
    """With answers that come at once, because the number of calls is the same."""
    del mountable
    command = [sys.executable, "-m", "tests.lab", "--workspace", "--latency", "0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    for line in ("start an interpreter", "start a notebook's kernel", "byte code cached", "While /Workspace hangs:"):
        assert line in done.stdout
    for error in ERRORS:
        assert f"While /Workspace answers {error}" in done.stdout
    assert "HANGS" not in done.stdout
