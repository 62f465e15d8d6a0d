"""Fixtures: the node with a workspace mount that the tests of a Python share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import Interpreter, find_running_interpreter
from tests.lab.missing import missing
from tests.lab.workspace import Workspace, find_missing
from tests.lab.workspace.editables import add_everything
from tests.lab.workspace.mount import Mount
from tests.lab.workspace.namespace import Namespace, NamespaceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIBRARY = """\
import importlib

def load(name):
    return importlib.import_module(name)

def look_for_missing():
    found = []
    try:
        import a_missing_name
        found.append(a_missing_name)
    except ImportError:
        pass
    try:
        from another_missing_name import something
        found.append(something)
    except ImportError:
        pass
    try:
        import a_missing_name.below
        found.append(a_missing_name)
    except ImportError:
        pass
    return found

def import_others():
    import logging.config, asyncio, wave
"""


@pytest.fixture(scope="session")
def mountable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where no file system can be mounted in a namespace."""
    if lacking := find_missing():
        missing(lacking)
    folder = tmp_path_factory.mktemp("mountable").resolve()
    (folder / "files").mkdir()
    try:
        with contextlib.closing(Namespace(folder, find_running_interpreter(), [])) as namespace:
            Mount(namespace, folder / "files", "/Workspace").close()
    except NamespaceError as error:
        missing(f"the right to mount a file system: {error}")


@pytest.fixture(scope="session")
def workspaces(mountable: None) -> Iterator[dict[str, Workspace]]:
    """The workspaces that have been built so far."""
    del mountable
    found: dict[str, Workspace] = {}
    yield found
    for workspace in found.values():
        workspace.close()


@pytest.fixture
def workspace(
    interpreter: Interpreter,
    wheelhouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
    workspaces: dict[str, Workspace],
) -> Iterator[Workspace]:
    """A node with a healthy mount, of which nothing is cached, the shim, and the installs of `add_everything`."""
    if interpreter.name not in workspaces:
        folder = tmp_path_factory.mktemp("workspace").resolve()
        workspace = workspaces[interpreter.name] = Workspace(folder, interpreter, wheelhouse)
        add_everything(workspace)
        workspace.install_shim()
    workspace = workspaces[interpreter.name]
    workspace.remount(linked=False)
    yield workspace
    workspace.mount.heal()


@pytest.fixture
def library(workspace: Workspace) -> Iterator[str]:
    """A library in the runtime's layer that looks for modules, some of them missing; the statement that imports it."""
    file = workspace.outside(workspace.node.layer(workspace.node.runtime)) / "a_library.py"
    file.write_text(LIBRARY)
    yield "import a_library"
    file.unlink()
