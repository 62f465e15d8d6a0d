"""The self-test on a real workspace mount: as a command, in kernels behind the published hook, and for users."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.node import OFF
from tests.lab.selftests import (
    FRESH,
    HERE,
    NOT_IN_A_COMMAND,
    OF_PYTHON,
    OF_THE_SHIM,
    OF_THE_SHIM_IN_A_NOTEBOOK,
    OF_THE_SHIM_ON_A_MOUNT,
    read,
    select,
    select_layers,
)
from tests.lab.workspace.kernel import WorkspaceKernel, provide_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.workspace import Finished, Workspace

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.pythons("3.12"),
    pytest.mark.releases("16.4"),
    pytest.mark.real("workspace mounts"),
]

USER = 4001
FOLDER = "/Workspace/Users/someone@example.com"
TMPDIR = {"TMPDIR": "/local_disk0/tmp"}
CALL = "import json, dbx_patch\nresult = dbx_patch.selftest()\nprint(json.dumps(result.to_json()))\nresult"


@pytest.fixture
def home(workspace: Workspace) -> Iterator[str]:
    """A folder of the user on the mount, which is as it was afterwards."""
    outside = workspace.outside(FOLDER)
    outside.mkdir(parents=True, exist_ok=True)
    mode = outside.stat().st_mode
    outside.chmod(0o777)  # the file system checks modes, and the mount's own owner is root
    before = sorted(map(str, outside.rglob("*")))
    tmp = workspace.outside(TMPDIR["TMPDIR"])
    tmp.mkdir(exist_ok=True)
    tmp.chmod(0o1777)
    yield FOLDER
    workspace.mount.heal()
    assert sorted(map(str, outside.rglob("*"))) == before
    outside.chmod(mode)


def run(
    workspace: Workspace, *words: str, environ: Mapping[str, str] | None = None, user: int | None = None
) -> Finished:
    """Run the self-test as a command in the user's folder, in a notebook's environment."""
    notebook = workspace.plain_notebook
    command = ["env", f"--chdir={FOLDER}", notebook.python, "-m", "dbx_patch", "selftest", "--json", *words]
    return workspace.run(command, notebook.environ | TMPDIR | dict(environ or {}), user=user)


def list_left(workspace: Workspace) -> list[str]:
    """List what is left of a self-test in the node's folders."""
    folders = ("/local_disk0", "/databricks", "/usr", "/root", "/home")
    found = [*(path for folder in folders for path in workspace.outside(folder).rglob("*dbx_patch_selftest*"))]
    return [str(path) for path in found]


@pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
@pytest.mark.parametrize("environ", [{}, OFF], ids=["on", "off"])
def test_command_tries_everything_on_the_mount(
    workspace: Workspace, home: str, environ: dict[str, str], user: int | None
) -> None:
    done = run(workspace, environ=environ, user=user)

    result = read(done.stdout)
    assert (done.returncode, result["left"], list_left(workspace)) == (bool(environ), [], []), home
    of_python = OF_PYTHON if user is None else OF_PYTHON - {("pip", FRESH)}
    ours = OF_THE_SHIM | OF_THE_SHIM_ON_A_MOUNT
    assert select(result, "failed") == (ours if environ else set())
    assert select(result, "passed") == (of_python if environ else ours | of_python)
    assert select(result, "not applicable") == NOT_IN_A_COMMAND | (OF_PYTHON - of_python)
    assert len(select_layers(result, "not applicable")) == (0 if user is None else 5)
    calls = {row["promise"]: row["mount_calls"] for row in result["promises"] if row["state"] == "passed"}
    if not environ:
        assert calls["mount left alone"] == 0
        assert calls["path style"] is None
        # Python counts its own questions: the kernel asks the file system for each part of a path, too.
        assert 0 < calls["workspace: path style"] < len(done.calls)


def test_nothing_is_tried_while_the_mount_does_not_answer(workspace: Workspace, home: str) -> None:
    """The runtime's layer has installs on it, for which every import could wait."""
    del home
    notebook = workspace.plain_notebook
    with workspace.mount.hanging():
        command = [notebook.python, "-m", "dbx_patch", "selftest", "--json"]
        done = workspace.run(command, notebook.environ | TMPDIR, timeout=30)

    result = read(done.stdout)
    assert (done.returncode, result["folders"], list_left(workspace)) == (1, [], [])
    rows = result["promises"]
    assert {row["state"] for row in rows} == {"not applicable"}
    assert {row["detail"] for row in rows} == {"imports could wait for a mount that does not answer: /Workspace"}


@pytest.mark.parametrize(
    ("old", "new", "row"),
    [
        ("    if type(spec.loader) is SourceFileLoader and", "    if False and", "byte-code cache"),
        (
            "    if monotonic() - asked_at >= ASK_AGAIN_AFTER:",
            "    if folder not in listings:",
            "workspace: late folder",
        ),
    ],
    ids=["nothing is cached", "absent folders are not asked again"],
)
def test_fault_of_the_part_for_mounts_is_seen(workspace: Workspace, home: str, old: str, new: str, row: str) -> None:
    del home
    layer = workspace.outside(workspace.node.layer(workspace.node.runtime))
    [file] = layer.glob("dbx_patch_sitecustomize_folders_*.py")
    text = file.read_text()
    assert text.count(old) == 1
    try:
        file.write_text(text.replace(old, new))
        result = read(run(workspace).stdout)
    finally:
        file.write_text(text)

    assert select(result, "failed") == {(row, FRESH)}


@pytest.fixture
def crowded(workspace: Workspace, real_hook: Path) -> Workspace:
    """The workspace with ipykernel in the runtime's layer, and the published hook for kernels."""
    provide_kernels(workspace, real_hook)
    return workspace


@pytest.mark.parametrize("way", ["shim", "patch_dbx", "none"])
def test_notebook_tries_everything_behind_the_published_hook(crowded: Workspace, home: str, way: str) -> None:
    with WorkspaceKernel(crowded, TMPDIR if way == "shim" else TMPDIR | OFF) as kernel:
        kernel.run(f"import os; os.chdir({home!r})")
        if way == "patch_dbx":
            cell = "import dbx_patch; del os.environ['DBX_PATCH_DISABLE']; dbx_patch.patch_dbx()\n"
            assert kernel.run(cell + "os.environ['DBX_PATCH_DISABLE'] = '1'").error == ""
        output = kernel.run(CALL)

    assert output.error == ""
    result: dict[str, Any] = json.loads(next(line for line in output.text.splitlines() if line[0] == "{"))
    assert list_left(crowded) == []
    # It has drawn itself row by row, and in the end the notebook shows the result alone.
    rows = [drawn.count("<tr>") for drawn in output.updates]
    assert rows == [0, *range(2, len(result["promises"]) + 2), 0]
    assert output.html[-1].count("<tr>") == len(result["promises"]) + 1
    ours = OF_THE_SHIM | OF_THE_SHIM_ON_A_MOUNT | OF_THE_SHIM_IN_A_NOTEBOOK
    if way == "shim":
        assert select(result, "failed") == set()
        assert select(result, "passed") == ours | OF_PYTHON
    elif way == "none":
        assert select(result, "failed") == ours
    else:
        assert select(result, "failed") == set()
        assert ("workspace: library code", HERE) in select(result, "passed")
