"""What the shim asks the workspace mount, counted by the mount.

Nothing is cached, so each question counts: the folder's own name, and each folder on the way to it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import place_hook
from tests.lab.node import OFF
from tests.lab.workspace.console import Console
from tests.lab.workspace.editables import FINDERS, IN_RUNTIME, OF_NOTEBOOK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.lab.workspace import RealNotebook, Workspace
    from tests.lab.workspace.mount import Call

pytestmark = [pytest.mark.oldest_and_newest, pytest.mark.real("workspace mounts")]

UNRELATED = "import subprocess, pickle, asyncio"
MISSING = """\
for name in ("a_missing_name", "another", "a_missing_name", "org", "java", "nt", "a_third"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
"""


def list_notebooks(workspace: Workspace) -> list[RealNotebook]:
    """Return a notebook with installs in the runtime's layer only, and one with an install of its own."""
    return [workspace.plain_notebook, workspace.notebook]


def summarize(calls: Iterable[Call]) -> list[str]:
    """Return calls as a failing test shows them."""
    counts = Counter(f"{call.operation} {call.path}" for call in calls)
    return [f"{count} x {what}" for what, count in counts.most_common()]


@pytest.mark.parametrize("code", ["pass", UNRELATED])
def test_start_and_imports_of_other_modules_ask_nothing_more(workspace: Workspace, code: str) -> None:
    """With 14 installs of path style and two of finder style. Python asks for those of a notebook's own layer."""
    runtime = [workspace.node.python, "-c", code]
    assert without_more(workspace.run(runtime).calls, workspace.run(runtime, OFF).calls) == []
    assert workspace.run([workspace.node.base, "-c", code]).calls == []

    plain, with_its_own = list_notebooks(workspace)
    assert summarize(plain.run(code, check=True).calls) == []
    assert without_more(with_its_own.run(code, check=True).calls, with_its_own.run(code, OFF).calls) == []


def without_more(calls: list[Call], without: list[Call]) -> list[str]:
    """Return the calls if there are more of them than without the shim."""
    return summarize(calls) if len(calls) > len(without) else []


def test_missing_name_lists_each_root_at_most_once_in_ten_seconds(workspace: Workspace) -> None:
    """Seven missing names of user code. The kernel keeps answers for a second, as by default: a listing counts once."""
    workspace.remount(cached=1)
    code = f"import time; started = time.monotonic()\n{MISSING}\nassert time.monotonic() - started < 10"
    for notebook in list_notebooks(workspace):
        calls = notebook.run(code, check=True).calls
        listed = Counter(call.path for call in calls if call.operation == "opendir")
        without = Counter(call.path for call in notebook.run("pass", OFF).calls if call.operation == "opendir")

        assert [root for root, count in (listed - without).items() if count > 1] == []
        assert [call for call in calls if call.operation not in {"opendir", "readdir", "getattr"}] == []
        assert [call.path for call in calls if any(call.path.startswith(f"{root}/") for root in listed)] == []


@pytest.mark.parametrize("first", ["pass", "import package0.first", f"import {FINDERS[0]}.first"])
def test_library_behind_the_hook_asks_nothing_for_a_missing_name(
    workspace: Workspace, library: str, real_hook: Path, first: str
) -> None:
    """Neither the first time nor later, and neither before an editable package is imported nor then."""
    workspace.provide_hook(real_hook)
    with Console(workspace) as console:
        console.run(place_hook(workspace.node, "dbruntime.wsfs_import_hook", "path-hook"))
        console.run(f"{library}\n{first}")
        mark = workspace.mount.mark()
        assert console.run("answer = [a_library.look_for_missing() for _ in range(2)]") == [[], []]
        console.run("a_library.import_others()")

        assert summarize(workspace.mount.calls(mark)) == []


def test_editable_packages_import_behind_the_hook(workspace: Workspace, library: str, real_hook: Path) -> None:
    """For a library too: what asks nothing for other names must still find these."""
    workspace.provide_hook(real_hook)
    with Console(workspace) as console:
        console.run(place_hook(workspace.node, "dbruntime.wsfs_import_hook", "path-hook"))
        console.run(library)
        for name in (*IN_RUNTIME, *FINDERS):
            assert console.run(f"answer = a_library.load('{name}.first').VALUE") == 1


def test_every_editable_package_imports(workspace: Workspace) -> None:
    names = [*IN_RUNTIME, *FINDERS]
    statement = f"import {', '.join(f'{name}.first, {name}.second' for name in names)}"
    assert workspace.plain_notebook.run(statement, check=True).returncode == 0
    assert workspace.notebook.run(f"{statement}, {OF_NOTEBOOK}.first", check=True).returncode == 0
