"""What debuggers, coverage and autoreload see of a module whose byte code is on the local disk, and forked workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.workspace.kernel import WorkspaceKernel, provide_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.workspace import Workspace

pytestmark = [pytest.mark.matrix, pytest.mark.oldest_and_newest, pytest.mark.real("workspace mounts")]

SOURCE = "def function(value):\n    doubled = value * 2\n    return doubled\n"
TRACE = """
import collections, inspect, sys, traceback
lines = collections.Counter()
def trace(frame, event, argument):
    if event == "line" and "traced" in frame.f_code.co_filename:
        lines[frame.f_code.co_filename, frame.f_lineno] += 1
    return trace
sys.settrace(trace)
import package0.traced
package0.traced.function(1)
sys.settrace(None)
print(sorted(lines))
print(inspect.getsourcefile(package0.traced), repr(inspect.getsource(package0.traced.function)))
try:
    package0.traced.function(None)
except TypeError as error:
    print(*traceback.extract_tb(error.__traceback__)[-1][:4], sep=", ")
"""
BREAKPOINT = """
import pdb, sys
import package0.traced
debugger = pdb.Pdb(stdout=sys.stdout, nosigint=True, readrc=False)
debugger.use_rawinput = False
import io; debugger.stdin = io.StringIO("continue\\np doubled\\ncontinue\\n")
print(debugger.set_break(package0.traced.__file__, 3))
debugger.runcall(package0.traced.function, 21)
"""
WORKER = """
import os, sys
import logging, pickle  # as a daemon that imports once and forks for each task
for task in range(3):
    child = os.fork()
    if child == 0:
        import package0.traced
        print(package0.traced.function(task), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
"""


@pytest.fixture
def traced(workspace: Workspace) -> Iterator[Path]:
    """A module of an editable package on the mount."""
    file = workspace.outside(workspace.node.project("package0")) / "src/package0/traced.py"
    file.write_text(SOURCE)
    yield file
    file.unlink()


def count_cached(workspace: Workspace) -> int:
    """Return how many files of the module's byte code root's cache has."""
    return len([*workspace.outside("/root/.cache/dbx-patch/byte-code").rglob("traced.*.pyc")])


def test_tracers_and_tracebacks_see_the_file_on_the_mount(workspace: Workspace, traced: Path) -> None:
    """Coverage measures by what `sys.settrace` reports."""
    del traced
    workspace.run(["rm", "-rf", "/root/.cache"])
    first, cached = (workspace.plain_notebook.run(TRACE, check=True).stdout for _ in range(2))

    assert count_cached(workspace) == 1
    assert first == cached
    file = f"{workspace.node.project('package0')}/src/package0/traced.py"
    assert cached.splitlines()[0] == repr([(file, number) for number in (1, 2, 3)])
    assert cached.splitlines()[1] == f"{file} {SOURCE!r}"
    assert cached.splitlines()[2] == f"{file}, 2, function, doubled = value * 2"


def test_debugger_stops_at_a_line_of_the_file_on_the_mount(workspace: Workspace, traced: Path) -> None:
    del traced
    for _ in range(2):
        done = workspace.plain_notebook.run(BREAKPOINT, check=True)

        assert done.stdout.startswith("None\n")  # the breakpoint is set
        assert "(Pdb) 42\n" in done.stdout
    assert count_cached(workspace) == 1


@pytest.mark.parametrize("user", [None, 4001], ids=["root", "user"])
def test_forked_workers_share_a_cache(workspace: Workspace, traced: Path, user: int | None) -> None:
    """As Spark's daemon forks its Python workers."""
    del traced
    for _ in range(2):
        done = workspace.run([workspace.node.python, "-c", WORKER], user=user)
        assert (done.stdout.split(), done.stderr, done.returncode) == (["0", "2", "4"], "", 0)


def test_user_without_a_home_folder_imports_as_without_us(workspace: Workspace, traced: Path) -> None:
    del traced
    code = "import package0.traced; print(package0.traced.function(1))"
    for home in ("/nonexistent", "/root", ""):
        done = workspace.run([workspace.node.python, "-c", code], {"HOME": home}, user=4002)
        assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.matrix
@pytest.mark.pythons("3.12")
@pytest.mark.releases("16.4")
def test_autoreload_runs_an_edit(workspace: Workspace, traced: Path, real_hook: Path) -> None:
    provide_kernels(workspace, real_hook)
    with WorkspaceKernel(workspace) as kernel:
        assert kernel.run("%load_ext autoreload\n%autoreload 2\nimport package0.traced").error == ""
        assert kernel.run("print(package0.traced.function(2))").text == "4\n"
        written = traced.stat().st_mtime
        for factor in (3, 5, 7):
            traced.write_text(SOURCE.replace("2", str(factor)))
            os.utime(traced, (written + factor, written + factor))  # autoreload looks for a later time
            assert kernel.run("print(package0.traced.function(2))").text == f"{2 * factor}\n"
