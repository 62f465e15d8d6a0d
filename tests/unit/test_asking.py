"""Which mount a path is on, and how a mount is asked. Real mounts are asked in `tests/workspace/test_commands.py`."""

from __future__ import annotations

import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbx_patch import _finders, _mounts
from dbx_patch._mounts import (
    MountState,
    ask_mount,
    ask_mounts,
    begin_asking,
    find_mount,
    find_troubles,
    follow,
    list_folder,
    resolve,
)
from dbx_patch.sitecustomize_template import template

MOUNTINFO = rb"""
22 1 254:0 / / rw,relatime - fuse.overlay overlay rw
23 22 0:21 / /proc rw,relatime shared:1 - proc proc rw
24 22 0:30 / /Workspace rw,nosuid shared:2 master:1 - fuse.wsfs wsfs rw
25 22 0:31 / /mnt/a\040share\134x rw - nfs4 server:/share rw
26 22 0:32 / /sys/fs/fuse/connections rw - fusectl none rw
27 22 0:33 / /data rw - ext4 /dev/vdb rw
28 22 0:34 / /mnt/windows rw - cifs //server/share rw
29 22 0:35 / /disk rw - fuseblk /dev/vdc rw
""".lstrip()
SLOW = "import time; print('started', flush=True); time.sleep(600)"
NEVER_STARTS = "import time; time.sleep(600)"


@pytest.fixture(autouse=True)
def mount_points(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mounts of a test, which asks for itself: at first there is none."""
    points = [""]
    monkeypatch.setattr(template.load("folders"), "remote_folders", points)
    monkeypatch.setattr(_mounts, "answers", {})
    return points


def test_file_systems_of_fuse_and_of_networks_are_mounts(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTINFO)
    part = template.load("folders")

    remote = part.find_remote_folders(str(table))
    assert [folder for folder in remote if not folder.startswith("/sys/")] == [
        "/Workspace",
        "/mnt/a share\\x",
        "/mnt/windows",
        "/disk",
    ]
    assert ("/data", "ext4") in part.list_mounts(str(table))


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/Workspace", "/Workspace"),
        ("/Workspace/Users/x", "/Workspace"),
        ("/Workspaces/x", ""),
        ("/Volumes/a", "/Volumes"),
        ("/dbfs/a", "/dbfs"),
        ("/.fuse-mounts", "/.fuse-mounts"),
        ("/.fuse-mounts/wsfs/Users", "/.fuse-mounts/wsfs"),
        ("/data/shared/x", "/data/shared"),
        ("/data/shared/inner/x", "/data/shared/inner"),
        ("/data/share", ""),
        ("/", ""),
    ],
)
def test_mount_of_a_path_is_known_by_its_name(mount_points: list[str], path: str, mount: str) -> None:
    mount_points += ["/data/shared", "/data/shared/inner"]

    assert _mounts.name_mount(path) == mount
    assert find_mount(path) == mount


def test_links_are_followed_up_to_a_mount(tmp_path: Path, mount_points: list[str]) -> None:
    folder = tmp_path.resolve()
    (folder / "mount").mkdir()
    (folder / "mount/inner").symlink_to("/nowhere")  # it is on the mount, so nobody may ask where it leads
    (folder / "links").mkdir()
    (folder / "links/absolute").symlink_to(folder / "mount")
    (folder / "links/relative").symlink_to("../links/absolute/inner")
    (folder / "links/circle").symlink_to("circle")
    mount_points.append(str(folder / "mount"))

    mount = str(folder / "mount")
    assert find_mount(f"{folder}/links/absolute/inner/x") == mount
    assert find_mount(f"{folder}/links/relative/x") == mount
    assert find_mount(f"{folder}/links/../mount/x") == mount
    assert follow(f"{folder}/links/relative/x") == f"{mount}/inner/x"
    (folder / "links/workspace").symlink_to("/Workspace/../nowhere")
    assert follow(f"{folder}/links/workspace/x") == "/nowhere/x"  # there is no such mount, as the kernel lists it
    assert follow("/Workspace/Users/../x") == "/Workspace/Users/../x"  # but it may have been mounted since
    assert find_mount(f"{folder}/links/circle") == find_mount(f"{folder}/links") == ""
    assert follow("/usr/../usr//./lib/") == follow("/usr/lib")


def test_relative_path_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount_points: list[str]
) -> None:
    folder = tmp_path.resolve()
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    mount_points.append(str(folder))

    assert find_mount("") == find_mount("x/y") == str(folder)
    (folder / "gone").rmdir()
    assert follow("x") == "x"


def test_mounts_that_the_kernel_does_not_list_are_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mounts, "list_mounts", list)

    assert [find_mount(path) for path in ("/Workspace/x", "/usr/lib")] == ["/Workspace", ""]


@pytest.mark.parametrize(("path", "state"), [("/", "answers"), ("/nowhere/at/all", "away"), (__file__, "away")])
def test_mount_is_asked(path: str, state: MountState) -> None:
    assert ask_mount(path) == state


@pytest.mark.parametrize(("number", "state"), [(1, "no credential"), (13, "no credential"), (5, "away"), (107, "away")])
def test_state_is_the_error_of_the_mount(monkeypatch: pytest.MonkeyPatch, number: int, state: MountState) -> None:
    monkeypatch.setattr(_mounts, "ASK", f"print('started', flush=True); print({number})")

    assert ask_mount("/") == state


@pytest.mark.parametrize("code", [SLOW, NEVER_STARTS])
def test_mount_that_does_not_answer_is_left_in_time(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A child process that sleeps stands in for one that waits for a mount: unlike that, it can be ended."""
    monkeypatch.setattr(_mounts, "ASK", code)
    monkeypatch.setattr(_mounts, "START_SECONDS", 30 if code == SLOW else 0.1)
    started = time.monotonic()

    assert ask_mount("/", seconds=0.1) == "does not answer"

    assert time.monotonic() - started < 20
    (child,) = _mounts.abandoned
    assert child.stdout is not None
    assert child.stdout.closed
    assert os.getsid(child.pid) == child.pid  # Ctrl-C in a terminal does not reach it
    child.wait()
    monkeypatch.setattr(_mounts, "ASK", "")
    ask_mount("/")
    assert _mounts.abandoned == []


def test_machine_that_can_start_no_process_is_taken_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    assert ask_mount("/") == "answers"


def test_each_mount_is_asked_once_in_a_command(monkeypatch: pytest.MonkeyPatch, mount_points: list[str]) -> None:
    asked: list[str] = []

    def ask(mount: str) -> MountState:
        asked.append(mount)
        return "does not answer"

    monkeypatch.setattr(_mounts, "ask_mount", ask)
    mount_points.append("/data")
    paths = ["/Workspace/a", "/Workspace/b", "/data/c", "/usr/lib"]

    assert ask_mounts(paths) == {"/Workspace": "does not answer", "/data": "does not answer"}
    assert [str(each) for each in find_troubles(paths)][1:] == [
        "the mount /Workspace does not answer",
        "the mount /data does not answer",
    ]
    assert asked == ["/Workspace", "/data"]
    begin_asking()
    assert _mounts.answers == {}


def test_nothing_on_a_mount_that_does_not_answer_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount_points: list[str]
) -> None:
    folder = tmp_path.resolve()
    (folder / "module.py").touch()
    (folder / "link").symlink_to("/usr")
    assert list_folder(str(folder)) == ["link", "module.py"]
    assert _mounts.is_file(f"{folder}/module.py")
    assert _mounts.is_folder(str(folder))
    assert resolve(f"{folder}/link") == Path("/usr")
    assert _finders.finds("module", str(folder))

    mount_points.append(str(folder))
    monkeypatch.setitem(_mounts.answers, str(folder), "does not answer")

    assert list_folder(str(folder)) == []
    assert not _mounts.is_file(f"{folder}/module.py")
    assert not _mounts.is_folder(str(folder))
    assert resolve(f"{folder}/link") == folder / "link"
    assert not _finders.finds("module", str(folder))


class Foreign:
    """A finder of other code."""

    def find_spec(self, *_: object) -> None:
        pytest.fail("it may touch any folder")


def test_only_finders_that_leave_a_silent_mount_alone_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount_points: list[str]
) -> None:
    silent, answering = tmp_path.resolve() / "silent", tmp_path.resolve() / "answering"
    for folder in (silent, answering):
        folder.mkdir()
        (folder / "a_module.py").touch()
    (silent / "another_module.py").touch()
    monkeypatch.setattr(sys, "path", [str(silent), str(answering), 7])
    monkeypatch.setattr(sys, "meta_path", [Foreign(), *sys.meta_path])
    mount_points.append(str(silent))
    monkeypatch.setitem(_mounts.answers, str(silent), "does not answer")

    found = _finders.find_spec("a_module")

    assert found is not None
    assert found.origin == str(answering / "a_module.py")
    assert _finders.find_spec("another_module") is None
    assert _finders.find_spec("pytest") is pytest.__spec__


def test_finder_whose_modules_are_on_a_silent_mount_has_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount_points: list[str]
) -> None:
    """The shim's first finder would ask it. The doctor asks the other finders in their turn."""
    silent, layer = tmp_path.resolve() / "silent", tmp_path.resolve() / "site-packages"
    layer.mkdir()
    turns = []
    for name, folder in (("waits", silent), ("answers", layer)):
        file = layer / f"finder_that_{name}.py"
        file.write_text(f"MAPPING = {{'{name}': '{folder}/{name}.py'}}\n")
        spec = ModuleSpec(name, None, origin=f"of {name}")
        owner = SimpleNamespace(find_spec=lambda asked, *_, name=name, spec=spec: spec if asked == name else None)
        editable = {"layer": str(layer), "file": str(file)}
        turns.append((str(layer), owner.find_spec, owner, editable))
    live: Any = SimpleNamespace(watcher=Foreign(), latecomer=Foreign(), loaded={})
    live.loaded["turns"] = SimpleNamespace(turns=turns, order_turns=lambda: turns)
    monkeypatch.setitem(sys.modules, template.LIVE_NAME, live)
    monkeypatch.setattr(sys, "path", [str(layer)])
    finders = [live.watcher, *(turn[2] for turn in turns), live.latecomer]
    monkeypatch.setattr(sys, "meta_path", finders)
    mount_points.append(str(silent))
    monkeypatch.setitem(_mounts.answers, str(silent), "does not answer")

    found = _finders.find_spec("answers")

    assert found is not None
    assert found.origin == "of answers"
    assert _finders.find_spec("waits") is None
    monkeypatch.setattr(sys, "meta_path", [live.watcher, live.latecomer])
    assert _finders.find_spec("answers") is None  # it was taken away, and has no turn any more
    assert [editable for _, _, _, editable in turns] == _finders.list_lost_turns()
