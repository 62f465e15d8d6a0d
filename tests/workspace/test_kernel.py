"""Notebook kernels and a large library on a real workspace mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dbx_patch._html import PASSED
from tests.lab.node import OFF
from tests.lab.workspace import USERS
from tests.lab.workspace.editables import FINDERS, IN_RUNTIME
from tests.lab.workspace.kernel import WorkspaceKernel, provide_kernels
from tests.workspace.test_calls import MISSING, PRESENT, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.workspace import Workspace
    from tests.lab.workspace.mount import Call

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.pythons("3.12"),
    pytest.mark.releases("16.4"),
    pytest.mark.real("workspace mounts"),
]


@pytest.fixture
def crowded(workspace: Workspace, real_hook: Path) -> Workspace:
    """The workspace with ipykernel and pandas in the runtime's layer, and the published hook for kernels."""
    provide_kernels(workspace, real_hook, "pandas")
    return workspace


def start(workspace: Workspace, environ: Mapping[str, str]) -> list[Call]:
    """Start a kernel, run a cell in it, and return what it asked the mount."""
    kernel = WorkspaceKernel(workspace, environ)  # making its environment asks the mount
    mark = workspace.mount.mark()
    with kernel:
        assert kernel.run("print(1 + 1)").text == "2\n"
        return workspace.mount.calls(mark)


def list_opened(calls: list[Call]) -> list[str]:
    """Return the folders that were listed. Fails if anything was done but to list folders and to ask for them."""
    assert {call.operation for call in calls} <= {"getattr", "opendir", "readdir"}
    return [call.path for call in calls if call.operation == "opendir"]


def test_start_of_a_kernel_lists_each_root_once(crowded: Workspace) -> None:
    """ipykernel looks for modules that are missing, as Python would in the roots on its path."""
    crowded.remount(cached=1)
    assert summarize(start(crowded, OFF)) == []
    listed = list_opened(start(crowded, {}))
    assert sorted(listed) == sorted(set(listed))


def test_cells_import_pandas_with_one_listing_a_root(crowded: Workspace) -> None:
    """Also in a process that has imported editable packages of each style."""
    crowded.remount(cached=1)
    with WorkspaceKernel(crowded) as kernel:
        mark = crowded.mount.mark()
        assert kernel.run("import pandas, subprocess, pickle, asyncio").error == ""
        listed = list_opened(crowded.mount.calls(mark))
        assert sorted(listed) == sorted(set(listed))
        names = ", ".join(f"{name}.first" for name in (*IN_RUNTIME, *FINDERS))
        assert kernel.run(f"import {names}").error == ""
        mark = crowded.mount.mark()
        assert kernel.run("import pandas.tseries.api, wave, sqlite3").error == ""
        assert list_opened(crowded.mount.calls(mark)) == []


def test_cells_list_each_root_once_for_missing_names(crowded: Workspace) -> None:
    crowded.remount(cached=1)
    with WorkspaceKernel(crowded) as kernel:
        mark = crowded.mount.mark()
        assert kernel.run(MISSING).error == ""
        listed = list_opened(crowded.mount.calls(mark))
        assert sorted(listed) == sorted(set(listed))


def test_kernel_works_while_the_mount_hangs(crowded: Workspace) -> None:
    """It imports what is not on the mount, and what is there when the mount answers again."""
    with WorkspaceKernel(crowded) as kernel:
        assert kernel.run("import pandas, subprocess, pickle, asyncio").error == ""
        crowded.mount.hang()
        assert kernel.run(f"{PRESENT}; print('works')").text == "works\n"
        crowded.mount.release()
        assert kernel.run(f"import package0.first, {FINDERS[0]}.first; print('works')").text == "works\n"


def test_quick_start_runs_to_its_end(crowded: Workspace) -> None:
    """The notebook of the documentation, by a user who can write the notebook's environment and the project."""
    user, notebook = 4001, crowded.make_notebook()
    project = crowded.node.copy_project("testx", "quick")
    crowded.give(user, notebook.environment, project)
    wheelhouse = str(crowded.node.wheelhouse)
    environ = {"HOME": USERS[user], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheelhouse}
    places = {"/Volumes/main/default/libraries": wheelhouse, "/Workspace/Users/you@example.com/testx": str(project)}

    with WorkspaceKernel(crowded, environ, notebook=notebook, user=user) as kernel:
        cells = kernel.run_notebook("quick_start", places)

    texts = [cell.text for cell in cells]
    assert texts.count(f"function1 of {project}/src/testx/functions.py\n") == 2
    assert [cell.died for cell in cells].count(True) == 1
    assert cells[-1].updates[-1].startswith(f"{PASSED} Self-test")
