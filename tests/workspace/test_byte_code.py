"""Imports of a package of 300 modules: what they ask the mount."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.lab.workspace import Workspace
from tests.lab.workspace.editables import IMPORT_MANY, MODULES, PACKAGES

pytestmark = pytest.mark.real("workspace mounts")

COUNT = PACKAGES * (MODULES + 1) + 1
"""The modules, and the packages themselves."""
WRITES = {"create", "write", "mkdir", "rename", "unlink", "truncate", "utimens"}


def test_package_of_many_modules_asks_little_and_writes_nothing(workspace: Workspace) -> None:
    """The kernel keeps answers for a second, as by default."""
    workspace.run(["rm", "-rf", "/root/.cache"])
    runs = []
    for _ in range(2):
        workspace.remount(cached=1)
        runs.append(workspace.plain_notebook.run(IMPORT_MANY, check=True))
    first, cached = (Counter(call.operation for call in run.calls) for run in runs)

    assert {name for run in (first, cached) for name in run} & WRITES == set()
    assert first["read"] <= COUNT
    assert cached["read"] == cached["open"] == 0
    assert cached.total() <= 1.25 * COUNT, cached


def test_edit_on_the_mount_is_what_runs(workspace: Workspace) -> None:
    """Also if it has the size and the time of what it replaces: releases and archives have one time for all files."""
    file = workspace.outside(workspace.node.project("package0")) / "src/package0/edited.py"
    for value, second in ((1, 1000), (2, 1000), (10, 1000), (11, 1001), (12, 999), (13, 2000)):
        file.write_text(f"VALUE = {value}\n")
        os.utime(file, (second, second))
        done = workspace.plain_notebook.run("import package0.edited; print(package0.edited.VALUE)", check=True)
        assert done.stdout == f"{value}\n"
    file.unlink()


def test_users_have_byte_code_of_their_own(workspace: Workspace) -> None:
    """Each in its home folder, which only it can read."""
    code = "import package0.first; print(package0.first.VALUE)"
    for user, home in {None: "/root", 4001: "/home/one", 4002: "/home/two"}.items():
        assert workspace.plain_notebook.run(code, user=user, check=True).stdout == "1\n"
        cache = workspace.outside(home) / ".cache/dbx-patch/byte-code"
        assert cache.stat().st_mode & 0o777 == 0o700
        assert cache.stat().st_uid == (user or 0)
        assert [path for path in cache.rglob("*") if path.lstat().st_uid != (user or 0)] == []
        assert [*cache.rglob("first.*.pyc")] != []


def test_uninstall_removes_the_byte_code_of_the_user_who_runs_it(workspace: Workspace) -> None:
    """Other users' byte code stays until they run it."""
    homes = {None: "/root", 4001: "/home/one"}
    for user in homes:
        workspace.plain_notebook.run("import package0.first", user=user, check=True)
    caches = {user: workspace.outside(home) / ".cache/dbx-patch/byte-code" for user, home in homes.items()}
    command = [workspace.node.python, "-m", "dbx_patch.uninstall"]
    refused = workspace.run(command, user=4001)
    assert (refused.returncode, caches[4001].exists()) == (1, True)  # the shim is still there

    try:
        for user, left in ((None, [4001]), (4001, [])):
            done = workspace.run(command, user=user, check=True)
            assert done.stdout.endswith(f" was removed: {homes[user]}/.cache/dbx-patch/byte-code.\n")
            assert [user for user, cache in caches.items() if cache.exists()] == left
    finally:  # other tests use this node
        workspace.install_shim()
