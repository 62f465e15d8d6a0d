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


def test_module_is_as_without_us_but_for_the_patch(hooked: Node) -> None:
    """Its own loader is back; and a copy that is run beside `sys.modules` is patched as well."""
    code = """\
import importlib.util
import dbx_patch_sitecustomize as shim
import pyspark.wsfs_import_hook as module
print(type(module.__loader__).__name__, module.__spec__.loader is module.__loader__)
spec = importlib.util.find_spec("dbruntime.wsfs_import_hook")
copy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(copy)
print(type(copy.__loader__).__name__, copy.WsfsImportHook is not module.WsfsImportHook)
print([name for name, state in shim.hook_states.items() if state == "patched"])
print(importlib.reload(module).WsfsImportHook.find_spec in shim.load("hooks").diverted)
"""

    done = hooked.make_notebook().run(code, check=True)

    states = ["dbruntime.wsfs_import_hook", "pyspark.wsfs_import_hook"]
    assert done.stdout.splitlines() == [
        "SourceFileLoader True",
        "SourceFileLoader True",
        str(states),
        "True",
    ]


POST_IMPORT = """\
import importlib, sys
import {package}.PostImportHook as post
shim = sys.modules["dbx_patch_sitecustomize"]
fired = []
post.register_post_import_hook(lambda module: fired.append(module.__name__), "pyspark.wsfs_import_hook")
post.register_post_import_hook(lambda module: fired.append(module.__name__), "json.tool")
ours = sys.meta_path.index(shim.watcher)
if {first} == "ours":
    sys.meta_path.insert(0, sys.meta_path.pop(ours))
import pyspark.wsfs_import_hook as module, json.tool
print(type(sys.meta_path[0]).__name__, fired, shim.hook_states["pyspark.wsfs_import_hook"])
print(module.WsfsImportHook.find_spec in shim.loaded["hooks"].diverted, type(module.__spec__.loader).__name__)
from dbx_patch import check_patch_status
print([hook.state for hook in check_patch_status().hooks if "{package}.PostImportHook" in hook.hook])
"""


@pytest.mark.releases("16.4", "17.3", "18.2", "19.3")
@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("package", ["pyspark.databricks.utils", "dbruntime"])
def test_post_import_hook_fires_once_for_a_module_that_we_patch_too(hooked: Node, first: str, package: str) -> None:
    """The published copy, under its own name and the driver's; with its finder before and behind ours."""
    code = POST_IMPORT.format(first=repr(first), package=package)

    done = hooked.make_notebook().run(code, check=True)

    finder = "SimpleNamespace" if first == "ours" else "ImportHookFinder"
    assert done.stdout.splitlines() == [
        f"{finder} ['pyspark.wsfs_import_hook', 'json.tool'] patched",
        "True SourceFileLoader",
        "['verified']",
    ]
    assert done.stderr == ""
