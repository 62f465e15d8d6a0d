"""Behind Databricks' own `WsfsImportHook`, in every shape it has been published in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import MODULES, PLACEMENTS, place_hook, provide_hook
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

LIBRARY = """\
import importlib

def load(name):
    return importlib.import_module(name)
"""


@pytest.fixture
def hooked(installed: Node, real_hook: Path) -> Node:
    """A node with the real hook on it, a library in the runtime's layer, and a workspace module of nobody's."""
    provide_hook(installed, real_hook)
    installed.layer(installed.runtime).joinpath("a_library.py").write_text(LIBRARY)
    folder = installed.project("notebooks")
    folder.mkdir(exist_ok=True)
    folder.joinpath("helper.py").write_text("")
    return installed


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("module", MODULES)
def test_library_imports_what_is_editable_and_nothing_else(hooked: Node, module: str, placement: str) -> None:
    notebook = hooked.make_notebook()
    project = hooked.project("testx")
    notebooks = str(hooked.project("notebooks"))
    start = f"import sys; sys.path += [{notebooks!r}] + [e for e in [{str(project / 'src')!r}] if e not in sys.path]\n"
    start += place_hook(hooked, module, placement)
    by_library = start + "import a_library; print(a_library.load({!r}).__file__)"

    def load(name: str, environ: Mapping[str, str] | None = None) -> str:
        done = notebook.run(by_library.format(name), environ)
        top = name.partition(".")[0]
        assert done.returncode == 0 or f"ModuleNotFoundError: No module named '{top}'" in done.stderr
        return done.stdout

    assert load("testx.functions", OFF) == ""
    assert load("testx.functions") == f"{project}/src/testx/functions.py\n"
    assert load("helper", OFF) == ""
    assert load("helper") == ""
    # A user's own import goes through the hook as before.
    own = notebook.run(start + "import helper, testx; print(helper.__file__)", check=True)
    assert own.stdout == f"{notebooks}/helper.py\n"
