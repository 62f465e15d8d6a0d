"""The lab's mount is what it claims to be: else no other test of this folder proves anything."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import find_running_interpreter
from tests.lab.wheels import REPOSITORY
from tests.lab.workspace import LINKED, USERS, Workspace
from tests.lab.workspace.mount import ERRORS, Mount
from tests.lab.workspace.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.oldest_and_newest, pytest.mark.real("workspace mounts")]

ONLY_INSIDE = ("/Workspace", "/.fuse-mounts", "/databricks", "/local_disk0")


@pytest.fixture
def made(mountable: None, tmp_path: Path) -> Iterator[tuple[Namespace, Mount]]:
    """A namespace and a mount, without a node."""
    del mountable
    namespace = Namespace(tmp_path.resolve(), find_running_interpreter(), [])
    (tmp_path / "files").mkdir()
    mount = Mount(namespace, tmp_path.resolve() / "files", "/Workspace")
    yield namespace, mount
    mount.close()
    namespace.close()


def test_node_has_the_absolute_paths_of_a_cluster(workspace: Workspace) -> None:
    """They are those of its interpreters, scripts and `.pth` files, and of the packages that notebooks import."""
    node, notebook = workspace.node, workspace.notebook
    script = workspace.run(["head", "-n", "1", "/databricks/python/bin/pip"]).stdout
    code = "import json, package0, sys; print(json.dumps([sys.executable, sys.base_prefix, package0.__file__]))"

    assert script.startswith("#!/databricks/python")
    assert re.fullmatch(r"/local_disk0/\.ephemeral_nfs/envs/pythonEnv-[-0-9a-f]+", str(notebook.environment))
    assert notebook.ask(code) == [
        str(notebook.python),
        "/usr",
        f"{node.project('package0')}/src/package0/__init__.py",
    ]
    assert notebook.ask(code)[2].startswith("/Workspace/")


def test_machine_has_nothing_of_the_node(workspace: Workspace) -> None:
    assert workspace.run(["ls", *ONLY_INSIDE[2:]]).returncode == 0
    assert [path for path in ONLY_INSIDE if os.path.lexists(path)] == []
    assert str(workspace.files.parent) not in Path("/proc/self/mountinfo").read_text()


def test_each_request_is_logged_with_the_process_that_made_it(workspace: Workspace) -> None:
    """Also if that is a process or a thread that the command started."""
    (workspace.files / "file").write_text("content")
    done = workspace.run(["sh", "-c", "cat /Workspace/file; true"])

    assert done.stdout == "content"
    assert [str(call).partition(" (")[0] for call in done.calls if call.operation != "getattr"] == [
        "open /file by cat",
        "read /file by cat",
    ]
    assert {call.path for call in done.calls} == {"/file"}
    assert workspace.run(["true"]).calls == []
    code = (
        "import os, threading; threading.Thread(target=os.stat, args=['/Workspace/file']).start(); print(os.getpid())"
    )
    done = workspace.run([workspace.node.base, "-I", "-c", code])
    assert {call.pid for call in done.calls} == {int(done.stdout)}


@pytest.mark.parametrize("error", ERRORS)
def test_broken_mount_answers_each_request_with_the_error(workspace: Workspace, error: str) -> None:
    code = """
import errno, os
try:
    print(os.listdir("/Workspace") != [])
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    ask = [workspace.node.base, "-I", "-c", code]
    with workspace.mount.broken(error):
        assert workspace.run(ask).stdout == f"{error}\n"
    assert workspace.run(ask).stdout == "True\n"


def test_answers_come_late(workspace: Workspace) -> None:
    workspace.mount.latency(200)
    done = workspace.run(["stat", "/Workspace/Users"])

    assert done.seconds > 0.2 * len(done.calls)
    assert len(done.calls) > 0


def test_hanging_mount_answers_when_it_is_released(workspace: Workspace) -> None:
    mark = workspace.mount.mark()
    with workspace.mount.hanging():
        process = workspace.start(["ls", "/Workspace"])
        wait_until(lambda: workspace.mount.calls(mark) != [])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)

    assert "Users" in process.communicate(timeout=10)[0].split()


def test_command_that_hangs_can_be_ended(workspace: Workspace) -> None:
    """The mount works again then: else the process could not be killed."""
    workspace.mount.hang()
    with pytest.raises(subprocess.TimeoutExpired):
        workspace.run(["ls", "/Workspace"], timeout=0.5)

    assert workspace.run(["ls", "/Workspace"]).returncode == 0


def test_there_are_no_links(workspace: Workspace) -> None:
    (workspace.files / "file").write_text("content")
    for option in ("--symbolic", "--physical"):
        done = workspace.run(["ln", option, "/Workspace/file", "/Workspace/link"])
        assert "Operation not supported" in done.stderr


def test_kernel_keeps_answers_for_as_long_as_it_may(workspace: Workspace) -> None:
    """A new mount has nothing in its cache, whatever the old one had."""
    workspace.remount(cached=3600)
    counts = [len(workspace.run(["stat", "/Workspace/Users"]).calls) for _ in range(2)]
    assert counts[0] > counts[1] == 0
    workspace.remount(cached=0)
    counts = [len(workspace.run(["stat", "/Workspace/Users"]).calls) for _ in range(2)]
    assert counts[0] == counts[1] > 0


def test_workspace_can_be_a_link(workspace: Workspace) -> None:
    workspace.remount(linked=True)
    done = workspace.run(["readlink", "-f", "/Workspace/Users"])

    assert done.stdout == f"{LINKED}/Users\n"
    assert done.calls != []
    assert workspace.notebook.run("import package0", check=True).returncode == 0
    workspace.remount(linked=False)
    assert workspace.run(["readlink", "-f", "/Workspace/Users"]).stdout == "/Workspace/Users\n"


@pytest.mark.parametrize("user", USERS)
def test_users_without_rights_use_the_node_and_the_mount(workspace: Workspace, user: int) -> None:
    code = """
import json, os, pathlib, package0
pathlib.Path("~/file").expanduser().touch()
print(json.dumps([os.getuid(), os.getgroups()]))
"""
    done = workspace.notebook.run(code, user=user, check=True)

    assert json.loads(done.stdout) == [user, []]
    assert workspace.outside(f"{USERS[user]}/file").stat().st_uid == user
    for path in ("/databricks/python/file", "/etc/file"):
        assert workspace.run(["touch", path], user=user).returncode != 0


def test_nothing_remains_of_a_mount_that_hangs(made: tuple[Namespace, Mount]) -> None:
    """Closing ends the processes that wait for it, and the namespace with its mounts."""
    namespace, mount = made
    mount.hang()
    process = namespace.start(["ls", "/Workspace"])
    wait_until(lambda: mount.calls() != [])
    mount.close()
    namespace.close()

    assert process.returncode is not None
    assert list_mounted(namespace.root) == []


def test_nothing_remains_if_the_tests_are_killed(mountable: None, tmp_path: Path) -> None:
    """Also where a process waits for a mount that hangs."""
    del mountable
    code = f"""
import sys, time
from pathlib import Path
from tests.lab.interpreters import find_running_interpreter
from tests.lab.workspace.mount import Mount
from tests.lab.workspace.namespace import Namespace
folder = Path({str(tmp_path.resolve())!r})
namespace = Namespace(folder, find_running_interpreter(), [])
(folder / "files").mkdir()
mount = Mount(namespace, folder / "files", "/Workspace")
mount.hang()
process = namespace.start(["ls", "/Workspace"])
while not mount.calls():
    time.sleep(0.01)
print(process.pid, flush=True)
time.sleep(600)
"""
    tests = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    waiting = int(tests.stdout.readline())
    tests.send_signal(signal.SIGKILL)
    tests.communicate()

    wait_until(lambda: not Path(f"/proc/{waiting}").exists())
    wait_until(lambda: list_mounted(tmp_path.resolve()) == [])


def list_mounted(folder: Path) -> list[str]:
    """List the processes in whose namespace something is mounted below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            mounted = (process / "mountinfo").read_text()
        except OSError:
            continue
        if f" {folder}/" in mounted:
            found.append(process.name)
    return found


def wait_until(condition: Callable[[], bool], patience: float = 20) -> None:
    """Wait until a condition holds. Fails if it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
