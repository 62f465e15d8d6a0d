"""A system that fails at any moment: Python starts, nothing is half done, and the next run finishes the work.

Disks are full or read-only, and files immutable. `strace` makes single system calls fail, or kills the process there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.lab.disks import disk_in_memory, immutable, mounted
from tests.lab.node import Node
from tests.lab.older import make_older
from tests.lab.templates import copy_names
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.interpreters import Interpreter
    from tests.lab.node import Notebook

CALLS = ("write", "chmod", "mkdir", "link", "rename", "unlink", "rmdir")
"""The system calls that change something which a later run or Python sees. `fchmod`, `fchown` and `utimensat` are
for temporary files, and `fsync` changes nothing."""
DESCRIBE_START = """\
import json, sys, sitecustomize
theirs = sitecustomize.a_distribution_was_here
print(json.dumps({"theirs": theirs, "live": "dbx_patch_sitecustomize" in sys.modules}))
"""
PAGE = 4096
"""Bytes. A disk gives files space in units of this size."""

pytestmark = [
    pytest.mark.one_python,  # the installer's calls are the same on every Python, and there are many
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
    pytest.mark.real("disks and kernels that fail"),
]
each_command = pytest.mark.parametrize("command", ["install", "upgrade", "uninstall"])


@pytest.fixture
def ready(node: Node, tmp_path: Path) -> Node:
    """A node with the package and a temporary folder of its own, where killed processes leave files behind."""
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
    """A node on a small disk of its own, in memory."""
    root = tmp_path.resolve() / "node"
    with disk_in_memory(root, "size=400m"):
        node = Node(root, interpreter, wheelhouse, sitecustomize=sitecustomize).build()
        node.install_dbx_patch()
        yield node


def prepare(node: Node, command: str) -> None:
    """Bring a node into the state in which a command starts."""
    if command != "install":
        node.install_shim()
    if command == "upgrade":
        make_older(node.layer(node.runtime))


def inject(node: Node, command: str, fault: str) -> tuple[int, str]:
    """Run a command with a fault; return its exit code and what it wrote to stderr."""
    module = "dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install"
    strace = [require("strace"), "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    scratch = {"TMPDIR": str(node.root.parent / "scratch")}
    done = node.run([*strace, node.python, "-m", module], scratch, check=False)
    return done.returncode, done.stderr


def is_live(node: Node) -> bool:
    """Check that Python starts and the foreign `sitecustomize` runs; return whether the shim is live."""
    started = node.run([node.python, "-c", DESCRIBE_START])
    assert started.stderr == ""
    answer = json.loads(started.stdout)
    assert answer["theirs"]
    return bool(answer["live"])


def assert_refused(done: subprocess.CompletedProcess[str], node: Node, reason: str) -> None:
    """Check that a command failed with the reason and a fix, and that it says the node is unchanged."""
    assert (done.returncode, done.stdout) == (1, "")
    first, *_, fix = [line for line in done.stderr.splitlines() if not line.startswith("Until then, ")]
    assert first.endswith((f"Nothing was changed for {node.python}.", "and nothing was changed."))
    assert reason in done.stderr
    assert fix.startswith("Fix: ")


def kill_and_check(node: Node, command: str, fault: str, *, finish: bool, before: object) -> bool:
    """Kill a command at a system call, and check what the next run finds; return whether it was killed."""
    if inject(node, command, fault)[0] == 0:
        return False
    is_live(node)
    if finish:
        assert node.dbx_patch("dbx_patch.install").returncode == 0, fault
        assert is_live(node), fault
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0, fault
    assert node.snapshot() == before, fault
    return True


def test_killed_install_is_finished_by_the_next_one(ready: Node) -> None:
    """One moment: between the shim's files and what loads them. The matrix has every moment."""
    fault = "rename:signal=SIGKILL:when=9"

    assert kill_and_check(ready, "install", fault, finish=True, before=ready.snapshot())


@pytest.mark.matrix
@each_command
def test_killed_at_any_change_it_leaves_a_python_that_starts(ready: Node, command: str) -> None:
    """It is killed as it enters each call, which is after the one before."""
    before = ready.snapshot()
    prepare(ready, command)
    prepared = ready.snapshot()
    names = [name for name in prepared if prepared[name] != before.get(name)]
    kept = ready.root.parent / "kept"  # copied back, which is faster than to prepare the node again
    copy_names(ready.root, kept, names)
    killed = 0
    for call in CALLS:
        for at in count(1):
            finish = command != "uninstall" and at % 4 == 1
            fault = f"{call}:signal=SIGKILL:when={at}"
            if not kill_and_check(ready, command, fault, finish=finish, before=before):
                break
            killed += 1
            copy_names(kept, ready.root, names)
            assert killed > 1 or ready.snapshot() == prepared
        ready.dbx_patch("dbx_patch.uninstall")
        copy_names(kept, ready.root, names)
    print(f"killed {killed} times")
    assert killed > 30


@pytest.mark.matrix
@each_command
def test_failing_disk_changes_nothing(ready: Node, command: str) -> None:
    """`fsync` reports an error after the write: the way in which a failing disk reports itself."""
    prepare(ready, command)
    before = ready.snapshot()
    for at in count(1):
        code, stderr = inject(ready, command, f"fsync:error=EIO:when={at}")
        if code == 0:
            break
        assert "Input/output error.\nFix: " in stderr
        assert ready.snapshot() == before, at
    assert at > 10


@pytest.mark.matrix
@each_command
def test_disk_that_is_full_by_any_number_of_bytes_changes_nothing(small_node: Node, command: str) -> None:
    prepare(small_node, command)
    before = small_node.snapshot()
    filler = small_node.root / "filler"
    # An install and an upgrade take turns at the numbers; an uninstall needs few.
    for pages in {"install": count(0, 2), "upgrade": count(1, 2), "uninstall": count()}[command]:
        free = shutil.disk_usage(small_node.root).free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - pages * PAGE)
        module = "dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install"
        done = small_node.dbx_patch(module)
        filler.unlink()
        if done.returncode == 0:
            break
        assert_refused(done, small_node, "No space left on device.")
        assert small_node.snapshot() == before, pages
    assert pages
    assert is_live(small_node) == (command != "uninstall")


@pytest.mark.matrix
@each_command
def test_read_only_disk_is_reported(small_node: Node, command: str) -> None:
    prepare(small_node, command)
    before = small_node.snapshot()
    subprocess.run(["mount", "-o", "remount,ro", small_node.root], check=True)
    done = small_node.dbx_patch("dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install")
    subprocess.run(["mount", "-o", "remount,rw", small_node.root], check=True)

    reason = "Read-only file system." if command == "uninstall" else "is on a read-only file system."
    assert_refused(done, small_node, reason)
    assert small_node.snapshot() == before


def assert_not_reached(node: Node, notebook: Notebook, *reasons: str) -> str:
    """Install, and check that this and `status` report that notebooks are not reached, and why; return the output."""
    done = node.dbx_patch("dbx_patch.install")
    status = node.dbx_patch("dbx_patch", "status")
    facts = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)

    assert (done.returncode, done.stderr, is_live(node)) == (0, "", True)
    assert status.stdout.splitlines()[1].endswith(f" runs in {node.python} (slot 3), but notebooks are not reached.")
    assert (facts["live"], facts["slot"], facts["reaches_notebooks"]) == (True, 3, False)
    for output in (done.stdout, status.stdout):
        assert "Notebooks are not reached: they start without the shim." in output
        assert [reason for reason in reasons if reason not in output] == []
    assert [reason for reason in reasons if reason not in facts["passed_over"][0]] == []
    assert not is_live_in(notebook)
    return done.stdout


def is_live_in(notebook: Notebook) -> bool:
    return "True" in notebook.run("import sys; print('dbx_patch_sitecustomize' in sys.modules)", check=True).stdout


def assert_strict_changes_nothing(node: Node, reason: str) -> None:
    """Check that `install --strict` fails with the reason and changes nothing."""
    before = node.snapshot()
    done = node.dbx_patch("dbx_patch.install", "--strict")
    assert_refused(done, node, reason)
    assert "Notebooks can't be reached, and `--strict` asks for that." in done.stderr
    assert node.snapshot() == before


def assert_reached(node: Node, notebook: Notebook) -> None:
    """Check that an install changes nothing, and that notebooks are reached."""
    done = node.dbx_patch("dbx_patch.install", "--json", "--strict")
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["changed"], facts["reaches_notebooks"], facts["slot"]) == (0, [], True, 2)
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (status["reaches_notebooks"], status["passed_over"], is_live_in(notebook)) == (True, [], True)


@pytest.mark.matrix
@pytest.mark.parametrize("disk", ["usr", "etc"])
def test_where_the_sitecustomize_is_on_a_read_only_disk_a_pth_file_is_used(ready: Node, disk: str) -> None:
    """/etc has the file, and /usr the link to it and its byte code. What is installed by then stays so."""
    notebook, folder = ready.make_notebook(), ready.root / disk
    make_read_only = ["mount", "-o", "remount,bind,ro", str(folder)]
    before = ready.snapshot()
    with mounted(folder):
        subprocess.run(make_read_only, check=True)
        reasons = (" is on a read-only file system.", f"It is mounted at {folder}.")
        assert_strict_changes_nothing(ready, reasons[1])
        assert ready.snapshot() == before
        output = assert_not_reached(ready, notebook, *reasons)
        assert_strict_changes_nothing(ready, reasons[1])
        ready.run_fixes(output)
        assert_reached(ready, notebook)
        subprocess.run(make_read_only, check=True)
        assert_reached(ready, notebook)
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before


def test_where_the_sitecustomize_is_immutable_a_pth_file_is_used(ready: Node) -> None:
    notebook, file = ready.make_notebook(), ready.root / "etc" / ready.version / "sitecustomize.py"
    before = ready.snapshot()
    with immutable(file):
        assert_strict_changes_nothing(ready, f"{file} is immutable.")
        output = assert_not_reached(ready, notebook, f"{file} is immutable.")
        ready.run_fixes(output)
    assert_reached(ready, notebook)
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before


@pytest.mark.matrix
def test_where_the_sitecustomize_is_a_mount_of_its_own_a_pth_file_is_used(ready: Node) -> None:
    """As where a container has it from the outside. It can be written, and not be replaced."""
    notebook, file = ready.make_notebook(), ready.root / "etc" / ready.version / "sitecustomize.py"
    before = ready.snapshot()
    with mounted(file):
        assert_strict_changes_nothing(ready, f"{file} is a mount of its own.")
        assert_not_reached(ready, notebook, f"{file} is a mount of its own.", f"run `umount {file}`.")
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before
    (byte_code,) = (ready.root / "usr/lib" / ready.version).glob("__pycache__/sitecustomize.*.pyc")
    with mounted(byte_code):  # that is not looked for: it shows when it can't be renamed
        assert_strict_changes_nothing(ready, f"{byte_code}: Device or resource busy.")
        done = ready.dbx_patch("dbx_patch.install")
        assert (done.returncode, is_live(ready), is_live_in(notebook)) == (0, True, False)
        assert f"  {byte_code}: Device or resource busy.\n" in done.stdout
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before


@pytest.mark.matrix
@each_command
def test_immutable_layer_is_reported(ready: Node, command: str) -> None:
    prepare(ready, command)
    before = ready.snapshot()
    with immutable(ready.layer(ready.runtime)):
        done = ready.dbx_patch("dbx_patch.uninstall" if command == "uninstall" else "dbx_patch.install")

    assert_refused(done, ready, "Operation not permitted.")
    assert ready.snapshot() == before


@pytest.mark.matrix
def test_immutable_shim_is_not_left_half_removed(ready: Node) -> None:
    prepare(ready, "uninstall")
    before = ready.snapshot()
    (part,) = ready.layer(ready.runtime).glob("dbx_patch_sitecustomize_hooks*.py")
    with immutable(part):
        done = ready.dbx_patch("dbx_patch.uninstall")

    assert_refused(done, ready, f"{part.name}: Operation not permitted.")
    assert ready.snapshot() == before


@pytest.mark.matrix
@pytest.mark.parametrize("fault", ["flock:error=ENOLCK", "flock:error=EOPNOTSUPP", "link:error=EPERM"])
def test_disk_without_locks_or_hard_links_works(ready: Node, fault: str) -> None:
    """As some NFS and FUSE mounts are."""
    before = ready.snapshot()

    assert inject(ready, "install", fault) == (0, "")
    status = json.loads(ready.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (is_live(ready), status["slot"]) == (True, 2)
    assert inject(ready, "uninstall", fault) == (0, "")
    assert ready.snapshot() == before


@pytest.mark.matrix
def test_process_without_free_descriptors_changes_nothing(ready: Node) -> None:
    before = ready.snapshot()
    outcomes = []
    for limit in range(3, 16):
        done = ready.run(["sh", "-c", f"ulimit -n {limit}; exec '{ready.python}' -m dbx_patch.install"], check=False)
        outcomes.append(done.returncode)
        if done.returncode == 0:
            break
        if "Traceback" in done.stderr:  # Python itself could not load a module
            assert "dbx_patch/installer" not in done.stderr.splitlines()[-3], done.stderr
        assert ready.snapshot() == before, limit
    assert outcomes[-1] == 0
    assert outcomes.count(1) > 1
    assert is_live(ready)
