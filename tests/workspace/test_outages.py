"""A workspace mount that answers with errors for a while: everything imports soon after."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import place_hook
from tests.lab.workspace.console import Console, ConsoleError
from tests.lab.workspace.editables import FINDERS
from tests.lab.workspace.mount import ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.lab.workspace import Workspace

pytestmark = [pytest.mark.matrix, pytest.mark.oldest_and_newest, pytest.mark.real("workspace mounts")]

BY_PATH = ("package0", "package1", "package2")
OUTAGES = [pytest.param(error, marks=[] if error == "EIO" else pytest.mark.matrix) for error in ERRORS]
AFTER = 2
"""Seconds after an outage in which everything has to import."""
TRY = """\
import importlib, json, time
def load(names, patience):
    failed, deadline = names, time.monotonic() + patience
    while failed:
        outcomes = {name: try_one(name) for name in names}
        failed = [name for name in names if outcomes[name] != "imported"]
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return outcomes
def try_one(name):
    try:
        importlib.import_module(name)
    except Exception as error:
        return [type(error).__name__, type(error.__cause__).__name__]
    return "imported"
"""


def load(console: Console, names: Sequence[str], patience: float = 0) -> dict[str, object]:
    """Try to import modules, once or until they all import; return `imported`, or the exception and its cause."""
    loaded: dict[str, object] = console.run(f"answer = load({json.dumps(names)}, {patience})")
    return loaded


@pytest.mark.parametrize("error", OUTAGES)
@pytest.mark.parametrize("kind", ["plain", "behind-the-hook"])
def test_everything_imports_after_an_outage(workspace: Workspace, real_hook: Path, error: str, kind: str) -> None:
    """Whether the outage was before the process used an install or after, and of each style."""
    used, unused = [BY_PATH[0], FINDERS[0]], [*BY_PATH[1:], FINDERS[1]]
    workspace.provide_hook(real_hook)
    with Console(workspace) as console:
        if kind == "behind-the-hook":
            console.run(place_hook(workspace.node, "dbruntime.wsfs_import_hook", "path-hook"))
        console.run(TRY)
        first = [f"{name}.first" for name in used]
        assert load(console, first) == dict.fromkeys(first, "imported")
        later = [f"{name}.second" for name in used] + [f"{name}.first" for name in unused]
        with workspace.mount.broken(error):
            assert "imported" not in load(console, later).values()
        assert load(console, later, AFTER) == dict.fromkeys(later, "imported")


@pytest.mark.parametrize("error", OUTAGES)
def test_everything_imports_after_an_outage_at_the_start(workspace: Workspace, error: str) -> None:
    names = [f"{name}.first" for name in (*BY_PATH, *FINDERS)]
    with workspace.mount.broken(error):
        console = Console(workspace)
        console.run(TRY)
        failed = load(console, names)
    with console:
        assert "imported" not in failed.values()
        assert load(console, names, AFTER) == dict.fromkeys(names, "imported")


@pytest.mark.parametrize("error", ["EACCES", "ENOTCONN", "EIO"])
def test_install_of_finder_style_reports_the_error_of_the_mount(workspace: Workspace, error: str) -> None:
    """As a module that was not found, so that code which expects that goes on; the mount's error is its cause."""
    name = FINDERS[0]
    with Console(workspace) as console:
        with workspace.mount.broken(error), pytest.raises(ConsoleError) as raised:
            console.run(f"import {name}")
        assert raised.value.name == "ModuleNotFoundError"
        cause = {"EACCES": "PermissionError"}.get(error, "OSError")
        assert raised.value.cause == cause
        console.run(f"import {name}.first")
