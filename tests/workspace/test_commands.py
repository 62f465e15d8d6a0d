"""The commands on a node whose workspace mount does not answer, or answers with errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.node import OFF
from tests.lab.projects import write_files
from tests.lab.workspace.console import Console, ConsoleError
from tests.lab.workspace.editables import FINDERS, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.workspace import Finished, Workspace

pytestmark = [pytest.mark.matrix, pytest.mark.one_python, pytest.mark.real("workspace mounts")]

PATIENCE = 30
"""Seconds after which a command is taken to hang."""
LIMIT = 2
"""Seconds that a mount has to answer a command."""
OF_ALL: tuple[Sequence[str], ...] = (
    ["--version"],
    ["--help"],
    ["fingerprint"],
    ["init-script", "--wheel", "/Workspace/dbx_patch-1.0-py3-none-any.whl", "--sha256", "0" * 64],
)
"""The commands that have nothing to do with a mount."""
WAITS = "the mount /Workspace does not answer; an import that asks it waits until it does"
OF_STATE = {
    "EACCES": (
        "no credential",
        "the mount /Workspace refuses this process, which has no credential for it yet; wait, then import again",
    ),
    "ENOTCONN": ("mount away", "the mount /Workspace is away; wait, then import again"),
    "EIO": ("mount away", "the mount /Workspace is away; wait, then import again"),
    "ENOENT": ("mount away", "the mount /Workspace is away; wait, then import again"),
}
"""The doctor's cause and summary for each error of the mount."""

FINDER = """
import sys
from importlib.util import spec_from_file_location
MAPPING = {"by_finder": "/local_disk0/projects/b/by_finder.py"}
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return spec_from_file_location(name, MAPPING[name]) if name in MAPPING else None
sys.meta_path.append(Finder)
"""
"""The module of a finder."""


def run(workspace: Workspace, *words: str) -> Finished:
    """Run a command in a notebook's environment."""
    notebook = workspace.plain_notebook
    command = [notebook.python, "-m", "dbx_patch", *words]
    return workspace.run(command, notebook.environ, timeout=PATIENCE)


def ask_doctor(workspace: Workspace, *modules: str) -> dict[str, Any]:
    """Return the doctor's diagnoses by module."""
    done = run(workspace, "doctor", "--json", *modules)
    assert done.stderr == ""
    return {found["module"]: found for found in json.loads(done.stdout)["diagnoses"]}


@pytest.mark.parametrize("words", OF_ALL, ids=" ".join)
def test_command_does_not_touch_a_mount(workspace: Workspace, words: Sequence[str]) -> None:
    with workspace.mount.hanging():
        done = run(workspace, *words)

    assert (done.returncode, done.stderr, done.calls) == (0, "", [])
    assert done.stdout != ""


def test_init_script_asks_for_the_digest_of_a_wheel_on_a_mount_that_does_not_answer(workspace: Workspace) -> None:
    with workspace.mount.hanging():
        done = run(workspace, "init-script", "--wheel", "/Workspace/dbx_patch-1.0-py3-none-any.whl")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("the mount /Workspace does not answer: name the wheel's digest with --sha256\n")


def test_shim_is_uninstalled_and_installed_while_the_mount_does_not_answer(workspace: Workspace) -> None:
    """For the notebook's environment; that of the runtime has installs of which `site` asks the mount at the start."""
    notebook = workspace.plain_notebook
    with workspace.mount.hanging():
        before = run(workspace, "install")
        removed = run(workspace, "uninstall")
        again = run(workspace, "install")

    assert [(done.returncode, done.stderr) for done in (before, removed, again)] == [(0, "")] * 3
    assert [*before.calls, *removed.calls, *again.calls] == []
    assert str(notebook.environment) in again.stdout


def test_status_says_that_the_mount_does_not_answer(workspace: Workspace) -> None:
    with workspace.mount.hanging():
        silent = run(workspace, "status")
        as_json = run(workspace, "status", "--json")
    answering = run(workspace, "status")

    assert (silent.returncode, silent.stderr) == (0, "")
    assert "Mount: /Workspace does not answer" in silent.stdout.splitlines()
    assert json.loads(as_json.stdout)["mounts"] == {"/Workspace": "does not answer"}
    assert "Mount:" not in answering.stdout
    assert silent.stdout.replace("Mount: /Workspace does not answer\n", "") == answering.stdout


@pytest.mark.parametrize("name", ["package0", "package1", FINDERS[0]])
def test_doctor_says_that_the_mount_does_not_answer(workspace: Workspace, name: str) -> None:
    """Also about a package that no metadata names: it may be in any folder that can't be searched."""
    with workspace.mount.hanging():
        found = ask_doctor(workspace, name)[name]

    assert (found["cause"], found["summary"], found["command"]) == ("mount not answering", WAITS, "")
    assert found["evidence"][0].startswith("not searched: " if name == "package1" else "folder: /Workspace/")


def test_doctor_examines_every_install_while_the_mount_does_not_answer(workspace: Workspace) -> None:
    """It waits for the mount once, whatever the number of installs on it."""
    with workspace.mount.hanging():
        mark = workspace.mount.mark()
        done = run(workspace, "doctor", "--json")
        calls = workspace.mount.calls(mark)

    found = json.loads(done.stdout)["diagnoses"]
    assert len(found) > len(FINDERS)
    assert {each["cause"] for each in found} == {"mount not answering"}
    assert len(calls) == 1
    assert done.seconds < LIMIT + PATIENCE / 2


def test_doctor_answers_for_another_module_and_says_what_it_did_not_search(workspace: Workspace) -> None:
    note = "the mount /Workspace does not answer, and was not searched"
    with workspace.mount.hanging():
        json_module = ask_doctor(workspace, "json")["json"]
        missing = ask_doctor(workspace, "a_missing_name")["a_missing_name"]

    assert (json_module["cause"], json_module["evidence"]) == ("healthy", [note])
    assert (missing["cause"], missing["summary"]) == ("mount not answering", WAITS)
    assert missing["evidence"][0].startswith("not searched: /Workspace/")


def test_project_on_the_local_disk_is_healthy_while_the_mount_does_not_answer(workspace: Workspace) -> None:
    """Of each style. Finders of other layers would ask the mount, and are not asked."""
    notebook = workspace.plain_notebook
    layer = workspace.outside(notebook.layers[1])
    write_files(workspace.outside("/local_disk0/projects"), dict.fromkeys(("a/by_path.py", "b/by_finder.py"), ""))
    added = {
        "__editable__.by_path-1.pth": "/local_disk0/projects/a\n",
        "__editable__.by_finder-1.0.pth": "import __editable___by_finder_1_finder",
        "__editable___by_finder_1_finder.py": FINDER,
        **describe("by_finder", Path("/local_disk0/projects/b/src"), {"top_level.txt": "by_finder\n"}),
    }
    write_files(layer, added)
    try:
        with workspace.mount.hanging():
            found = ask_doctor(workspace, "by_path") | ask_doctor(workspace, "by_finder")
    finally:
        for name in added:
            (layer / name).unlink()

    assert {name: found["healthy"] for name, found in found.items()} == {"by_path": True, "by_finder": True}


@pytest.mark.parametrize("error", OF_STATE)
@pytest.mark.parametrize("name", ["package0", FINDERS[0]])
def test_doctor_advises_to_wait_while_the_mount_answers_with_errors(
    workspace: Workspace, error: str, name: str
) -> None:
    with workspace.mount.broken(error):
        found = ask_doctor(workspace, name)[name]
        status = run(workspace, "status")
    healed = ask_doctor(workspace, name)[name]

    assert (found["cause"], found["summary"]) == OF_STATE[error]
    assert (found["command"], healed["healthy"]) == ("", True)
    assert "Mount: /Workspace " in status.stdout


def test_inventory_lists_installs_while_the_mount_does_not_answer(workspace: Workspace) -> None:
    code = """
import dbx_patch
found = dbx_patch.verify_editable_installs()
print(found.ok, {install.importable for install in found.installs})
print({reason.partition(': ')[2] for install in found.installs for reason in install.unreadable})
print(dbx_patch.check_patch_status().live)
"""
    with workspace.mount.hanging():
        done = workspace.plain_notebook.run(code, timeout=PATIENCE)

    lines = ["False {False}", "{'the mount /Workspace does not answer'}", "True"]
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


def test_question_of_a_mount_is_answered_by_a_child_that_nobody_waits_for(workspace: Workspace) -> None:
    """The command ends and its pipes with it, though the child that asked still waits for the mount."""
    with workspace.mount.hanging():
        done = workspace.run(
            ["sh", "-c", f"{workspace.plain_notebook.python} -m dbx_patch doctor package0 | cat"],
            workspace.plain_notebook.environ,
            timeout=PATIENCE,
        )

    assert WAITS in done.stdout


def test_mount_behind_a_link_is_the_one_that_is_asked(workspace: Workspace) -> None:
    """On some clouds `/Workspace` is a link."""
    mount = workspace.remount(linked=True)
    with mount.hanging():
        found = ask_doctor(workspace, "package0")["package0"]

    assert found["cause"] == "mount not answering"
    assert found["summary"].startswith("the mount /.fuse-mounts/wsfs does not answer")


def test_root_in_the_spelling_of_the_link_is_not_sent_to_executors(workspace: Workspace) -> None:
    """Where `/Workspace` is a link, build backends write the path that it leads to."""
    workspace.remount(linked=True)
    layer = workspace.outside(workspace.plain_notebook.layers[1])
    linked = layer / "__editable__.package0-1.0.pth"
    root = f"/.fuse-mounts/wsfs/{workspace.node.project('package0').relative_to('/Workspace')}/src"
    linked.write_text(f"{root}\n")
    try:
        found = ask_doctor(workspace, "package0")["package0"]
    finally:
        linked.unlink()

    assert (found["cause"], found["healthy"]) == ("path not sent", True)
    assert found["evidence"][0].startswith(f"{root} is not sent to executors")


def test_what_python_remembers_of_an_outage_is_dropped_by_the_command(workspace: Workspace) -> None:
    """Without the shim, which drops it by itself: Python never asks a folder again that it found absent."""
    root = workspace.node.project("package0") / "src"
    with Console(workspace, OFF) as console:
        console.run(f"import sys; sys.path.append({str(root)!r})\nimport dbx_patch")
        with workspace.mount.broken("EACCES"), pytest.raises(ConsoleError):
            console.run("import package0.first")
        found = console.run("answer = dbx_patch.doctor('package0').to_json()['diagnoses'][0]")
        with pytest.raises(ConsoleError):
            console.run("import package0.first")
        console.run(f"{found['command']}\nimport package0.first")

    assert (found["cause"], found["evidence"]) == ("stale cache", [f"remembered: {root}"])


def test_running_process_is_examined_while_the_mount_does_not_answer(workspace: Workspace) -> None:
    """What it has imported already is in memory, but more of it can't be imported."""
    with Console(workspace) as console:
        console.run(f"import package0.first, {FINDERS[0]}.first")
        with workspace.mount.hanging():
            ask = "import dbx_patch; answer = [found.cause for found in dbx_patch.doctor({!r}).diagnoses]"
            causes = [console.run(ask.format(name), timeout=PATIENCE) for name in ("package0.second", FINDERS[0])]

    assert causes == [["mount not answering"]] * 2
