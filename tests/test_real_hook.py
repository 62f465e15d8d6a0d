"""Tests editable installs behind Databricks' own `WsfsImportHook`, in every shape that has been published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import MODULES, PLACEMENTS, place_hook, provide_hook
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node

pytestmark = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])

LIBRARY = """\
import importlib

def load(name):
    return importlib.import_module(name)
"""
START = """
import json, sys
answers = sys.stdout
sys.stdout = sys.stderr  # the hook prints its own errors to stdout
def answer(**values):
    print(json.dumps(values), file=answers)
"""


@pytest.fixture
def hooked(installed: Node, real_hook: Path) -> Node:
    """A node with the published hook, a library in the runtime's layer, and a workspace module of no install."""
    provide_hook(installed, real_hook)
    installed.layer(installed.runtime).joinpath("a_library.py").write_text(LIBRARY)
    folder = installed.project("notebooks")
    folder.mkdir(exist_ok=True)
    folder.joinpath("helper.py").write_text("")
    return installed


def ask(node: Node, code: str, environ: Mapping[str, str] | None = None) -> Any:
    """Run code in a new notebook and return its answer. It must write nothing else, and nothing to stderr."""
    done = node.make_notebook().run(START + code, environ, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_libraries_import_editables_only_and_users_import_everything(hooked: Node) -> None:
    """The hook is under the driver's and the executors' name, in the importer cache and as a path hook."""
    project, notebooks = hooked.project("testx"), hooked.project("notebooks")
    root = str(project / "src")
    places = {
        f"{module}, {placement}": place_hook(hooked, module, placement)
        for module in MODULES
        for placement in PLACEMENTS
    }
    code = f"""
import a_library
sys.path += [{str(notebooks)!r}] + [entry for entry in [{root!r}] if entry not in sys.path]
def find_file(name, load=__import__):
    for known in [known for known in sys.modules if known.partition(".")[0] == name.partition(".")[0]]:
        del sys.modules[known]
    try:
        load(name)
    except ModuleNotFoundError as error:
        return "no module named " + error.name
    return sys.modules[name].__file__
path_hooks = list(sys.path_hooks)
outcomes = {{}}
for case, place in {places!r}.items():
    sys.path_hooks[:] = path_hooks
    exec(place, {{}})
    outcomes[case] = dict(
        editable_for_a_library=find_file("testx.functions", a_library.load),
        other_for_a_library=find_file("helper", a_library.load),
        editable_for_the_user=find_file("testx.functions"),
        other_for_the_user=find_file("helper"),
    )
answer(**outcomes)
"""
    without = {
        "editable_for_a_library": "no module named testx",
        "other_for_a_library": "no module named helper",
        "editable_for_the_user": f"{root}/testx/functions.py",
        "other_for_the_user": f"{notebooks}/helper.py",
    }

    assert ask(hooked, code, OFF) == dict.fromkeys(places, without)
    assert ask(hooked, code) == dict.fromkeys(
        places, without | {"editable_for_a_library": f"{root}/testx/functions.py"}
    )


def test_module_is_as_without_the_shim_except_for_the_patch(hooked: Node) -> None:
    """Its own loader is restored. A copy that is executed outside of `sys.modules` is patched as well."""
    code = """
import importlib.util
import dbx_patch_sitecustomize as shim
import pyspark.wsfs_import_hook as module
spec = importlib.util.find_spec("dbruntime.wsfs_import_hook")
copy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(copy)
answer(
    loader=type(module.__loader__).__name__,
    loader_of_the_spec=module.__spec__.loader is module.__loader__,
    loader_of_the_copy=type(copy.__loader__).__name__,
    copy_has_its_own_class=copy.WsfsImportHook is not module.WsfsImportHook,
    copy_is_patched=copy.WsfsImportHook.find_spec in shim.load("turns").diverted,
    patched=[event[1] for event in shim.journal if event[0] == "hook patched"],
    states=[shim.hook_states[name] for name in (module.__name__, copy.__name__)],
    patched_after_a_reload=importlib.reload(module).WsfsImportHook.find_spec in shim.load("turns").diverted,
)
"""
    assert ask(hooked, code) == {
        "loader": "SourceFileLoader",
        "loader_of_the_spec": True,
        "loader_of_the_copy": "SourceFileLoader",
        "copy_has_its_own_class": True,
        "copy_is_patched": True,
        "patched": ["pyspark.wsfs_import_hook", "dbruntime.wsfs_import_hook"],
        "states": ["patched", "patched"],
        "patched_after_a_reload": True,
    }


@pytest.mark.matrix
@pytest.mark.releases("16.4", "17.3", "18.2", "19.3")
def test_post_import_hook_calls_back_once_for_a_module_that_is_patched_too(hooked: Node) -> None:
    """The published copy runs under its own name and the driver's, with its finder before and after the shim's."""
    code = """
import importlib
from dbx_patch import check_patch_status
shim = sys.modules["dbx_patch_sitecustomize"]
meta_path = list(sys.meta_path)
outcomes = {}
for package in ("pyspark.databricks.utils", "dbruntime"):
    for first in ("shim", "hook"):
        sys.meta_path[:] = meta_path
        for name in (f"{package}.PostImportHook", "pyspark.wsfs_import_hook", "json.tool"):
            sys.modules.pop(name, None)
        post = importlib.import_module(f"{package}.PostImportHook")
        calls = []
        for name in ("pyspark.wsfs_import_hook", "json.tool"):
            post.register_post_import_hook(lambda module: calls.append(module.__name__), name)
        if first == "shim":
            sys.meta_path.remove(shim.watcher)
            sys.meta_path.insert(0, shim.watcher)
        import json.tool
        module = importlib.import_module("pyspark.wsfs_import_hook")
        outcomes[f"{package}, {first} first"] = dict(
            first="shim" if sys.meta_path[0] is shim.watcher else type(sys.meta_path[0]).__name__,
            calls=calls,
            patched=module.WsfsImportHook.find_spec in shim.loaded["turns"].diverted,
            loader=type(module.__spec__.loader).__name__,
            states=[hook.state for hook in check_patch_status().hooks if f"{package}.PostImportHook" in hook.hook],
        )
answer(**outcomes)
"""
    outcome = ask(hooked, code)

    expected = {
        "calls": ["json.tool", "pyspark.wsfs_import_hook"],
        "patched": True,
        "loader": "SourceFileLoader",
        "states": ["verified"],
    }
    assert outcome == {
        f"{package}, {first} first": expected | {"first": finder}
        for package in ("pyspark.databricks.utils", "dbruntime")
        for first, finder in {"shim": "shim", "hook": "ImportHookFinder"}.items()
    }
