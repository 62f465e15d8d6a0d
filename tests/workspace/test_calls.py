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
from tests.lab.workspace.editables import FINDERS, IN_RUNTIME, OF_NOTEBOOK, PATH_STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.lab.workspace import Workspace
    from tests.lab.workspace.mount import Call

pytestmark = [pytest.mark.oldest_and_newest, pytest.mark.real("workspace mounts")]

PRESENT = "import json, decimal, csv"
"""Modules of the standard library, which look for no others that are missing."""
UNRELATED = "import subprocess, pickle, asyncio"
"""Modules that look for others which are nowhere on Linux: `msvcrt`, `_winapi`, `org`."""
STOP_THE_CLOCK = """\
import sys
folders = sys.modules["dbx_patch_sitecustomize"].load("folders")
now = folders.monotonic()
folders.monotonic = lambda: now
"""
MISSING = """\
for name in ("a_missing_name", "another", "a_missing_name", "org", "java", "nt", "a_third"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
"""


def summarize(calls: Iterable[Call]) -> list[str]:
    """Return calls as a failing test shows them."""
    counts = Counter(f"{call.operation} {call.path}" for call in calls)
    return [f"{count} x {what}" for what, count in counts.most_common()]


@pytest.mark.parametrize("code", ["pass", PRESENT])
def test_start_and_imports_of_other_modules_ask_nothing(workspace: Workspace, code: str) -> None:
    """With 14 installs of path style and two of finder style in the runtime's layer."""
    assert workspace.run([workspace.node.base, "-c", code]).calls == []
    assert summarize(workspace.plain_notebook.run(code, check=True).calls) == []


@pytest.mark.parametrize("code", ["pass", PRESENT])
def test_start_lists_roots_of_its_own_layer_at_most_once(workspace: Workspace, code: str) -> None:
    """Besides what Python has listed before the shim starts: Debian's start-up file looks for a module that is missing.

    `site` puts these roots on the path. So it looks there for `usercustomize` too, and finders of setuptools for `nt`.
    """
    for python in (workspace.node.python, workspace.notebook.python):
        listed, without = (
            Counter(
                call.path for call in workspace.run([python, "-c", code], environ).calls if call.operation == "opendir"
            )
            for environ in ({}, OFF)
        )
        assert [root for root, count in (listed - without).items() if count > 1] == []


@pytest.mark.parametrize("code", [MISSING, UNRELATED])
def test_names_that_are_nowhere_list_each_root_once(workspace: Workspace, code: str) -> None:
    """And ask less than Python with these roots on its path. The kernel keeps answers for a second, as by default."""
    roots = workspace.plain_notebook.ask("import json, sys; print(json.dumps([e for e in sys.path if '/Users/' in e]))")
    assert len(roots) == PATH_STYLE + 1
    workspace.remount(cached=1)
    calls = workspace.plain_notebook.run(code, check=True).calls
    workspace.remount(cached=1)
    plain = workspace.plain_notebook.run(f"import sys; sys.path += {roots!r}\n{code}", OFF, check=True).calls

    listed = Counter(call.path for call in calls if call.operation == "opendir")
    assert listed == Counter(root.removeprefix("/Workspace") for root in roots)
    assert [call for call in calls if call.operation not in {"opendir", "readdir", "getattr"}] == []
    assert [call.path for call in calls if any(call.path.startswith(f"{root}/") for root in listed)] == []
    assert len(calls) <= len(plain)


@pytest.mark.parametrize("first", ["pass", "import package0.first", f"import {FINDERS[0]}.first"])
def test_library_behind_the_hook_asks_each_root_once_a_second_for_missing_names(
    workspace: Workspace, library: str, real_hook: Path, first: str
) -> None:
    """Before an editable package is imported and then. The clock stands still, so a second does not pass."""
    workspace.provide_hook(real_hook)
    with Console(workspace) as console:
        console.run(place_hook(workspace.node, "dbruntime.wsfs_import_hook", "path-hook"))
        console.run(f"{STOP_THE_CLOCK}\n{library}\n{first}")
        mark = workspace.mount.mark()
        assert console.run("answer = [a_library.look_for_missing() for _ in range(2)]") == [[], []]
        console.run("a_library.import_others()")
        listed = Counter(call.path for call in workspace.mount.calls(mark) if call.operation == "opendir")
        assert [root for root, count in listed.items() if count > 1] == []
        mark = workspace.mount.mark()
        console.run("a_library.look_for_missing()")
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
