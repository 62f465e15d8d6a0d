"""A workspace mount that does not answer: what does not need it must not wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import place_hook
from tests.lab.workspace.console import Console
from tests.lab.workspace.editables import FINDERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.workspace import Workspace

pytestmark = pytest.mark.real("workspace mounts")

PATIENCE = 30
"""Seconds after which a process is taken to hang."""
UNRELATED = "import json, decimal, csv"
"""They look for no modules that are missing. Python itself would look for those in the roots on its path, and wait."""


@pytest.mark.parametrize("code", ["pass", UNRELATED])
def test_start_and_imports_of_other_modules_work(workspace: Workspace, code: str) -> None:
    with workspace.mount.hanging():
        for command in ([workspace.node.base, "-c", code], [workspace.plain_notebook.python, "-c", code]):
            assert workspace.run(command, workspace.plain_notebook.environ, timeout=PATIENCE).returncode == 0


def test_running_process_imports_other_modules(workspace: Workspace) -> None:
    """After it has imported editable packages of each style, so that their folders are known to it."""
    with Console(workspace) as console:
        console.run(f"import package0.first, package1.first, {FINDERS[0]}.first")
        with workspace.mount.hanging():
            console.run(UNRELATED, timeout=PATIENCE)


def test_import_of_an_editable_package_waits_and_then_works(workspace: Workspace) -> None:
    """As it would without the shim."""
    with Console(workspace) as console:
        with workspace.mount.hanging():
            mark = workspace.mount.mark()
            console.send("import package0.first; answer = package0.first.VALUE")
            with pytest.raises(TimeoutError):
                console.receive(timeout=1)
            assert workspace.mount.calls(mark) != []
        assert console.receive() == 1


def test_library_behind_the_hook_imports_other_modules(workspace: Workspace, library: str, real_hook: Path) -> None:
    workspace.provide_hook(real_hook)
    with Console(workspace) as console:
        console.run(place_hook(workspace.node, "dbruntime.wsfs_import_hook", "path-hook"))
        console.run(f"{library}\nimport package0.first")
        with workspace.mount.hanging():
            console.run(f"exec({UNRELATED!r}, vars(a_library))", timeout=PATIENCE)
