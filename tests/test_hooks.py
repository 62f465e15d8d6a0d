"""Every hook that Databricks is known to have: patched where it blocks, and let alone where it is unknown.

What is published nowhere, is a stand-in here (`tests/lab/dbruntime`); `test_real_hook.py` and `test_real_worker.py` run
what is published.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import before_path, provide_stand_ins
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

LIBRARY = "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"
ENTRY_FINDERS = {
    "dbruntime.wsfs_import_hook": (
        "from dbruntime.wsfs_import_hook import WsfsImportHook as Hook\n"
        "make = lambda path: Hook(path, test_prefix=PREFIX)"
    ),
    "dbruntime.workspace_import_machinery": (
        "from dbruntime.workspace_import_machinery import _WorkspacePathEntryFinder as Hook\nmake = Hook"
    ),
}
"""Each hook that serves the folders below `/Workspace`, and how a finder is made."""


class Lab:
    """A notebook on a node that has the stand-ins, with what its tests talk about."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.root = str(self.node.project("testx") / "src")
        self.folder = provide_stand_ins(self.node)

    def run(self, code: str, environ: Mapping[str, str] | None = None, *before: Path) -> str:
        """Run code in the notebook; return what it printed. It must succeed, and write nothing to stderr."""
        path = {"PYTHONPATH": before_path(self.notebook, *before, self.folder), "WSFS_TEST_DIR": str(self.node.root)}
        names = f"ROOT, PREFIX, LAYER = {self.root!r}, {str(self.node.root)!r}, {self.notebook.layers[2]!r}\n"
        done = self.notebook.run("import sys\n" + names + code, path | dict(environ or {}), check=True)
        assert done.stderr == ""
        return done.stdout.strip()


@pytest.fixture
def lab(installed: Node) -> Lab:
    installed.layer(installed.runtime).joinpath("a_library.py").write_text(LIBRARY)
    installed.project("notebooks").mkdir(exist_ok=True)
    installed.project("notebooks").joinpath("helper.py").write_text("")
    return Lab(installed.make_notebook())


@pytest.fixture
def flat(installed: Node) -> Iterator[Path]:
    """A project of flat layout, installed editable in the runtime's layer: setuptools gives it a finder."""
    folder = installed.copy_project("flaty")
    (folder / "src/flaty").rename(folder / "flaty")
    (folder / "src").rmdir()
    installed.install_editable(folder)
    yield folder
    installed.pip("uninstall", "--quiet", "--yes", "flaty")
    shutil.rmtree(folder)


STATES = """
import json
from dbx_patch import check_patch_status
print(json.dumps({hook.hook: [hook.state, hook.reason] for hook in check_patch_status().hooks}))
"""


# sys_path_init


@pytest.mark.parametrize("wishes", ["", "rebind", "import", "rebind,import"])
def test_roots_are_on_the_path_that_sys_path_init_has_made(lab: Lab, wishes: str) -> None:
    code = """
import sys_path_init
from sys_path_init import patch_sys_path_with_developer_paths as handed_out
print(sys.path[sys.path.index(LAYER) + 1] == ROOT)
handed_out()
sys_path_init.patch_sys_path_with_developer_paths()
print(sys.path[sys.path.index(LAYER) + 1] == ROOT, sys.path.count(ROOT))
"""
    assert lab.run(code, {"LAB_SYS_PATH_INIT": wishes}) == "True\nTrue 1"


# The finders of workspace folders


@pytest.mark.parametrize("hook", ENTRY_FINDERS)
@pytest.mark.parametrize("interpreter_of", ["notebook", "runtime"])
def test_workspace_finder_answers_editables_to_libraries_and_everything_to_users(
    lab: Lab, hook: str, interpreter_of: str
) -> None:
    """The runtime's interpreter has the shim in a folder of its own path, where the hooks look for libraries."""
    code = f"""
{ENTRY_FINDERS[hook]}
helpers = {str(lab.node.project("notebooks"))!r}
for folder in [helpers, ROOT]:
    if folder not in sys.path:
        sys.path.append(folder)
    sys.path_importer_cache[folder] = make(folder)
import a_library
def ask(name):
    try:
        return a_library.load(name).__file__
    except ModuleNotFoundError:
        return None
print(ask("testx"), Hook.walks > 0)
print(ask("helper"), Hook.walks > 0)
import helper
print(helper.__file__)
"""
    if interpreter_of == "runtime":
        lab.notebook = type(lab.notebook)(lab.node, lab.node.root / "databricks/python3")
    editable, helper = f"{lab.root}/testx/__init__.py", f"{lab.node.project('notebooks')}/helper.py"

    assert lab.run(code).splitlines() == [f"{editable} False", "None True", helper]
    assert lab.run(code, OFF).splitlines() == ["None True", "None True", helper]


@pytest.mark.parametrize("environ", [{}, OFF], ids=["live", "off"])
def test_user_s_module_that_has_the_name_of_a_hook_s_is_found_as_without_us(lab: Lab, environ: dict[str, str]) -> None:
    """The watcher's own frames must not make it a library's import either."""
    folder = lab.node.project("namesake")
    folder.mkdir(exist_ok=True)
    folder.joinpath("sys_path_init.py").write_text("")
    code = f"""
{ENTRY_FINDERS["dbruntime.wsfs_import_hook"]}
sys.path.insert(0, {str(folder)!r})
sys.path_importer_cache[{str(folder)!r}] = make({str(folder)!r})
import sys_path_init
print(sys_path_init.__file__)
"""
    lab.notebook = type(lab.notebook)(lab.node, lab.node.root / "databricks/python3")

    assert lab.run(code, environ) == f"{folder}/sys_path_init.py"


@pytest.mark.parametrize("hook", ENTRY_FINDERS)
def test_library_imports_submodules_of_a_finder_style_install(lab: Lab, flat: Path, hook: str) -> None:
    """Such a package is found without the hook, and its modules through it."""
    (flat / "flaty/sub").mkdir()
    (flat / "flaty/sub/deep.py").write_text("")
    (flat / "notebook_only").mkdir()
    (flat / "notebook_only/helper.py").write_text("")
    code = f"""
{ENTRY_FINDERS[hook]}
sys.path_hooks.insert(0, make)
sys.path.append({str(flat)!r})  # as a notebook in that folder would have it
import a_library, notebook_only
print(a_library.load("flaty.functions").__file__)
print(a_library.load("flaty.sub.deep").__file__)
try:
    a_library.load("notebook_only.helper")
except ModuleNotFoundError as error:
    print(error.name)
"""
    expected = [f"{flat}/flaty/functions.py", f"{flat}/flaty/sub/deep.py", "notebook_only.helper"]
    assert lab.run(code).splitlines() == expected


@pytest.mark.parametrize("hook", ENTRY_FINDERS)
@pytest.mark.parametrize("spelled", ["/Workspace", "/.fuse-mounts/wsfs"])
def test_both_spellings_of_the_workspace_count(lab: Lab, hook: str, spelled: str) -> None:
    """On some clouds `/Workspace` is a link to `/.fuse-mounts/wsfs`, and one process has paths of both kinds."""
    mount = lab.node.root / ".fuse-mounts"
    mount.mkdir(exist_ok=True)
    if not (mount / "wsfs").is_symlink():
        (mount / "wsfs").symlink_to("../Workspace")
    other = {"/Workspace": "/.fuse-mounts/wsfs", "/.fuse-mounts/wsfs": "/Workspace"}[spelled]
    project = lab.node.copy_project("spelt")
    root = lab.root.replace("/testx/", "/spelt/")
    pth = lab.node.layer(lab.node.runtime) / "spelt.pth"
    pth.write_text(root.replace("/Workspace", spelled) + "\n")
    code = f"""
{ENTRY_FINDERS[hook]}
root, other = {root.replace("/Workspace", spelled)!r}, {root.replace("/Workspace", other)!r}
print(sys.path[sys.path.index(LAYER) + 2] == root, other in sys.path)
finder = make(other)
sys.path[sys.path.index(root)] = other
sys.path_importer_cache[other] = finder
import a_library
print(a_library.load("spelt").__file__ == other + "/spelt/__init__.py", Hook.walks)
import sys_path_init
sys_path_init.patch_sys_path_with_developer_paths()
print(len([entry for entry in sys.path if entry in (root, other)]))
from dbruntime.autoreload.file_module_utils import is_file_in_allowlist
print(is_file_in_allowlist(root + "/spelt/x.py"), is_file_in_allowlist(other + "/spelt/x.py"))
"""
    try:
        assert lab.run(code).splitlines() == ["True False", "True 0", "1", "True True"]
    finally:
        pth.unlink()
        shutil.rmtree(project)


# PythonPathHook


def test_python_path_hook_keeps_the_roots_where_they_stood(lab: Lab) -> None:
    code = """
from dbruntime.pythonPathHook import PythonPathHook
hook = PythonPathHook()
def neighbours():
    at = sys.path.index(ROOT)
    return sys.path[at - 1], sys.path[at + 1]
before = neighbours()
hook.change_folder(PREFIX + "/Workspace/Users/someone/a")
hook.change_folder(PREFIX + "/Workspace/Users/someone/b")
print(neighbours() == before, sys.path.count(ROOT), [e[-4:] for e in sys.path if "someone/" in e])
sys.path.remove(ROOT)
hook.change_folder(PREFIX + "/Workspace/Users/someone/c")
print(ROOT in sys.path)
sys.path.insert(0, ROOT)
hook.change_folder(PREFIX + "/Workspace/Users/someone/d")
print(sys.path.index(ROOT), sys.path.count(ROOT))
"""
    assert lab.run(code).splitlines() == ["True 1 ['ne/b']", "False", "0 1"]


# Autoreload


def test_autoreload_allows_every_root_by_path_components_once(lab: Lab, flat: Path) -> None:
    elsewhere = lab.node.root / "elsewhere/foo"
    pth = lab.node.layer(lab.node.runtime) / "elsewhere.pth"
    code = f"""
from dbruntime.autoreload import file_module_utils as allowed
import dbx_patch, importlib
def ask(*files):
    print(*[allowed.is_file_in_allowlist(file) for file in files])
ask(ROOT + "/testx/functions.py", ROOT + "bar/testx.py", ROOT[:-1], "/x", {str(flat)!r} + "/flaty/functions.py")
ask({str(elsewhere)!r} + "/module.py")
with open({str(pth)!r}, "w") as file:
    print({str(elsewhere)!r}, file=file)
dbx_patch.patch_dbx()
ask({str(elsewhere)!r} + "/module.py", {str(elsewhere)!r} + "bar/module.py")
importlib.reload(allowed)
print(len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
dbx_patch.remove_all_patches()
print(len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
dbx_patch.patch_dbx()
print(len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
"""
    try:
        assert lab.run(code).splitlines() == ["True False False False True", "False", "True False", "2", "1", "2"]
    finally:
        pth.unlink(missing_ok=True)


# Hooks that should do no harm

IN_PLACE = """
import builtins, sys
from dbruntime.WsfsPathFinder import WsfsPathFinder
from dbruntime.workspace_import_machinery import _WorkspacePathFinder
from dbruntime.autoreload.discoverability.hook import AutoreloadDiscoverabilityHook
from builtins_import_patcher import BuiltinsImportPatcher
sys.meta_path[0:0] = [WsfsPathFinder(), _WorkspacePathFinder()]
AutoreloadDiscoverabilityHook().install()
BuiltinsImportPatcher().ensure()
"""
HARMLESS = (
    "dbruntime.autoreload.discoverability.hook.AutoreloadDiscoverabilityHook._patched_import",
    "builtins_import_patcher.BuiltinsImportPatcher",
    "dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec",
    "dbruntime.workspace_import_machinery._WorkspacePathFinder.find_spec",
)


def test_harmless_hooks_are_verified_by_an_import_through_them(lab: Lab) -> None:
    states = json.loads(lab.run(IN_PLACE + STATES))

    assert {hook: states[hook] for hook in HARMLESS} == {hook: ["verified", ""] for hook in HARMLESS}


def test_harmless_hook_is_armed_until_imports_come_by_it(lab: Lab) -> None:
    states = json.loads(lab.run("import dbruntime.WsfsPathFinder" + STATES))

    assert states["dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec"] == [
        "armed",
        "imported, but no import comes by it",
    ]
    assert states["builtins_import_patcher.BuiltinsImportPatcher"] == ["armed", ""]
    assert states["dbruntime.PostImportHook.ImportHookFinder.find_spec"] == ["absent", ""]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        pytest.param("raise RuntimeError('never heard of it')", "never heard of it", id="raises"),
        pytest.param("return find(name, keyword.__file__)", "keyword.py", id="other file"),
    ],
)
def test_harmless_hook_that_does_harm_is_incompatible(lab: Lab, wrong: str, reason: str) -> None:
    code = f"""
import keyword
from importlib.util import spec_from_file_location as find
import dbruntime.WsfsPathFinder as module
class WsfsPathFinder:
    def find_spec(self, name, path=None, target=None):
        if "probe" in name:
            {wrong}
module.WsfsPathFinder = WsfsPathFinder
sys.meta_path.insert(0, WsfsPathFinder())
"""
    state, said = json.loads(lab.run(code + STATES))["dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec"]

    assert state == "incompatible"
    assert reason in said


def test_probe_leaves_nothing_behind(lab: Lab) -> None:
    code = """
import dbx_patch._process, tempfile, os
def now():
    files = os.listdir(tempfile.gettempdir())
    return list(sys.path), set(sys.modules), set(sys.path_importer_cache), sys.getprofile(), files
dbx_patch.check_patch_status()
before = now()
dbx_patch.check_patch_status()
print(before == now())
"""
    assert lab.run(IN_PLACE + code, {"TMPDIR": str(lab.node.root / "etc/..")}) == "True"


# States


def test_states_tell_what_is_armed_absent_and_patched(lab: Lab) -> None:
    states = json.loads(lab.run("import sys_path_init, dbruntime.pythonPathHook" + STATES))

    assert states["sys_path_init.patch_sys_path_with_developer_paths"] == ["patched", ""]
    assert states["dbruntime.pythonPathHook.PythonPathHook._handle_sys_path_maybe_updated"] == ["patched", ""]
    assert states["dbruntime.wsfs_import_hook.WsfsImportHook.find_spec"] == ["armed", ""]
    assert states["_engine_pyspark.worker_util.setup_spark_files"] == ["absent", ""]


def test_nothing_is_live_where_nothing_was_started(lab: Lab) -> None:
    code = "import dbx_patch; print(dbx_patch.check_patch_status())"

    assert lab.run(code, OFF) == "dbx-patch is not live"


# Shapes that are not known

MODULES = {
    "sys_path_init": ["patch_sys_path_with_developer_paths"],
    "dbruntime.wsfs_import_hook": ["WsfsImportHook", "WsfsImportHook.find_spec"],
    "dbruntime.workspace_import_machinery": ["_WorkspacePathEntryFinder", "_WorkspacePathEntryFinder.find_spec"],
    "dbruntime.pythonPathHook": ["PythonPathHook", "PythonPathHook._handle_sys_path_maybe_updated"],
    "dbruntime.autoreload.file_module_utils": [
        "register_autoreload_allowlist_check",
        "deregister_autoreload_allowlist_check",
    ],
}
SHIFTS = [
    pytest.param(module, f"{name} = {value}" if value else f"del {name}", id=f"{name}-{value or 'deleted'}")
    for module, names in MODULES.items()
    for name in names
    for value in ("", "None", "'retyped'")
]


@pytest.mark.parametrize(("module", "shift"), SHIFTS)
def test_what_is_deleted_or_retyped_is_incompatible_and_left_alone(lab: Lab, module: str, shift: str) -> None:
    """The module is as it would be without us, no import fails, and nothing is printed."""
    overlay = lab.node.root / "overlay"
    folder, _, name = module.replace(".", "/").rpartition("/")
    file = overlay / folder / f"{name}.py"
    file.parent.mkdir(parents=True)
    for package in [overlay / folder, *(overlay / folder).parents]:
        if folder and package.is_relative_to(overlay / folder.partition("/")[0]):
            (package / "__init__.py").write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)")
    original = (lab.folder / module.replace(".", "/")).with_suffix(".py").read_text()
    file.write_text(f"{original}\n{shift}\nkept = dict(globals())\n")
    code = f"""
import {module} as module, testx
print({{name: value for name, value in vars(module).items() if name != "kept"}} == module.kept)
print(sys.modules["dbx_patch_sitecustomize"].hook_states[{module!r}].partition(":")[0])
print([type(f).__name__ for f in sys.modules["dbx_patch_sitecustomize"].load("hooks").diverted])
"""
    try:
        assert lab.run(code, None, overlay).splitlines() == ["True", "incompatible", "[]"]
    finally:
        shutil.rmtree(overlay)


@pytest.mark.parametrize("hook", ENTRY_FINDERS)
@pytest.mark.parametrize("shift", ["delattr(finder, name)", "setattr(finder, name, None)", "file_finder.path = None"])
def test_workspace_finder_without_its_file_finder_does_what_it_would(lab: Lab, hook: str, shift: str) -> None:
    code = f"""
{ENTRY_FINDERS[hook]}
finder = make(ROOT)
(name, file_finder), = [(n, v) for n, v in vars(finder).items() if type(v).__name__ == "FileFinder"]
{shift}
def outcome(find):
    try:
        return repr(find("testx"))
    except Exception as error:
        return repr(error)
with_us = outcome(finder.find_spec)
import dbx_patch
names = ({hook!r} + ".WsfsImportHook.find_spec", {hook!r} + "._WorkspacePathEntryFinder.find_spec")
state = [hook for hook in dbx_patch.check_patch_status().hooks if hook.hook in names]
print(*[hook.state for hook in state])
dbx_patch.remove_all_patches()
print(with_us == outcome(finder.find_spec))
"""
    assert lab.run(code).splitlines()[-2:] == ["incompatible", "True"]


# Loaders, modules and threads of every kind


@pytest.mark.parametrize(
    "loader",
    [
        pytest.param(
            "class Loader:\n    def load_module(self, name):\n        return real.load_module(name)", id="old"
        ),
        pytest.param(
            "class Loader:\n    def create_module(self, spec): return None\n"
            "    def exec_module(self, module): real.exec_module(module)",
            id="new",
        ),
    ],
)
def test_foreign_loaders_are_used_as_they_are(lab: Lab, loader: str) -> None:
    """Some of Databricks' have no `exec_module` (polars #5331)."""
    code = f"""
import warnings
warnings.simplefilter("ignore")  # Python's own, about such a loader
from importlib.machinery import ModuleSpec, SourceFileLoader
real = SourceFileLoader("sys_path_init", {str(lab.folder / "sys_path_init.py")!r})
{loader}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sys_path_init":
            return ModuleSpec(name, Loader())
sys.meta_path.insert(0, Finder()) if {loader!r}.startswith("x") else sys.meta_path.insert(1, Finder())
import sys_path_init
print(type(sys_path_init.__spec__.loader).__name__)
sys_path_init.patch_sys_path_with_developer_paths()
print(ROOT in sys.path)
"""
    assert lab.run(code).splitlines() == ["Loader" if "exec_module" in loader else "SourceFileLoader", "True"]


def test_module_that_puts_another_in_its_place_is_patched_there(lab: Lab) -> None:
    overlay = lab.node.root / "overlay-replaced"
    overlay.mkdir()
    original = (lab.folder / "sys_path_init.py").read_text()
    (overlay / "sys_path_init.py").write_text(
        "import sys, types\nother = types.ModuleType(__name__)\n"
        f"exec({original!r}, vars(other))\nsys.modules[__name__] = other\n"
    )
    code = """
import sys_path_init
sys_path_init.patch_sys_path_with_developer_paths()
print(hasattr(sys_path_init, "other"), ROOT in sys.path)
"""
    try:
        assert lab.run(code, None, overlay) == "False True"
    finally:
        shutil.rmtree(overlay)


def test_namespace_package_in_a_hook_s_place_is_imported_as_without_us(lab: Lab) -> None:
    overlay = lab.node.root / "overlay-namespace"
    (overlay / "dbruntime/pythonPathHook").mkdir(parents=True)
    code = "import dbruntime.pythonPathHook as module; print(list(module.__path__), type(module.__spec__.loader))"
    try:
        namespace = {"PYTHONPATH": str(overlay)}
        assert lab.run(code, namespace) == lab.run(code, namespace | OFF)
    finally:
        shutil.rmtree(overlay)


def test_reload_and_a_second_import_leave_one_patch(lab: Lab) -> None:
    code = """
import importlib, sys_path_init, dbx_patch
calls = []
shim = sys.modules["dbx_patch_sitecustomize"]
editables = shim.load("editables")
real = editables.place_roots
editables.place_roots = lambda roots: calls.append(1) or real(roots)
def count():
    calls.clear()
    sys_path_init.patch_sys_path_with_developer_paths()
    return len(calls)
print(count())
importlib.reload(sys_path_init)
print(count())
dbx_patch.patch_dbx()
dbx_patch.patch_dbx()
print(count())
del sys.modules["sys_path_init"]
import sys_path_init
print(count())
"""
    assert lab.run(code).split() == ["1", "1", "1", "1"]


def test_threads_that_import_one_hook_at_once_leave_one_patch(lab: Lab) -> None:
    code = """
import threading
barrier = threading.Barrier(8)
seen = []
def work(name):
    barrier.wait()
    seen.append(__import__(name, fromlist=["x"]))
names = ["sys_path_init", "dbruntime.pythonPathHook"] * 4
threads = [threading.Thread(target=work, args=[name]) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
shim = sys.modules["dbx_patch_sitecustomize"]
print(len(seen), len(set(map(id, seen))), len(shim.loaded["hooks"].diverted))
originals = [f.__code__.co_consts for f in shim.loaded["hooks"].diverted]
print(all(type(c[2]).__name__ == "function" and c[2] not in shim.loaded["hooks"].diverted for c in originals))
"""
    assert lab.run(code).splitlines() == ["8 2 2", "True"]


def test_function_that_two_hooks_share_is_patched_once(lab: Lab) -> None:
    """The driver's module may be no more than another name for the executors'."""
    overlay = lab.node.root / "overlay-shared"
    (overlay / "_engine_pyspark").mkdir(parents=True)
    (overlay / "_engine_pyspark/__init__.py").write_text("")
    (overlay / "_engine_pyspark/wsfs_import_hook.py").write_text("from dbruntime.wsfs_import_hook import *\n")
    code = """
import _engine_pyspark.wsfs_import_hook, dbruntime.wsfs_import_hook as module, dbx_patch
(ours, original), = sys.modules["dbx_patch_sitecustomize"].load("hooks").diverted.values()
shared = ("dbruntime.wsfs_import_hook", "_engine_pyspark.wsfs_import_hook")
print([hook.state for hook in dbx_patch.check_patch_status().hooks if hook.hook.startswith(shared)])
dbx_patch.remove_all_patches()
print(module.WsfsImportHook.find_spec.__code__ is original, original.co_filename == module.__file__)
"""
    try:
        assert lab.run(code, None, overlay).splitlines() == ["['patched', 'patched']", "True True"]
    finally:
        shutil.rmtree(overlay)


def test_allow_list_that_outlives_a_reload_has_the_check_once(lab: Lab) -> None:
    overlay = lab.node.root / "overlay-list"
    for package in ("dbruntime", "dbruntime/autoreload"):
        (overlay / package).mkdir(parents=True)
        (overlay / package / "__init__.py").write_text(
            "__path__ = __import__('pkgutil').extend_path(__path__, __name__)"
        )
    original = (lab.folder / "dbruntime/autoreload/file_module_utils.py").read_text()
    name = "_AUTORELOAD_ALLOWLIST_CHECKS"
    kept = original.replace(f"{name} = [", f"{name} = globals().get({name!r}) or [")
    (overlay / "dbruntime/autoreload/file_module_utils.py").write_text(kept)
    code = f"""
import dbruntime.autoreload.file_module_utils as module, importlib
print(len(module.{name}), len(importlib.reload(module).{name}))
"""
    try:
        assert lab.run(code, None, overlay) == "2 2"
    finally:
        shutil.rmtree(overlay)


# Taking it back


def test_everything_is_put_back_in_any_order(lab: Lab) -> None:
    code = """
import dbx_patch, functools
import sys_path_init, dbruntime.pythonPathHook as paths, dbruntime.wsfs_import_hook as wsfs
functions = [sys_path_init.patch_sys_path_with_developer_paths, paths.PythonPathHook._handle_sys_path_maybe_updated,
    wsfs.WsfsImportHook.find_spec]
shim = sys.modules["dbx_patch_sitecustomize"]
originals = [code for ours, code in shim.loaded["hooks"].diverted.values()]
patched = [f.__code__ for f in functions]

# Somebody wraps two of them after us.
calls = []
@functools.wraps(functions[0])
def wrapper(*args):
    calls.append(1)
    return functions[0](*args)
sys_path_init.patch_sys_path_with_developer_paths = wrapper

dbx_patch.remove_all_patches()
print([f.__code__ for f in functions] == originals, ROOT in sys.path)
print([f for f in sys.meta_path if type(f).__name__ == "SimpleNamespace" and hasattr(f, "invalidate_caches")])
sys.path.append(ROOT)
sys_path_init.patch_sys_path_with_developer_paths()
print(len(calls), ROOT in sys.path)

dbx_patch.patch_dbx()
sys_path_init.patch_sys_path_with_developer_paths()
print(len(calls), sys.path[sys.path.index(LAYER) + 1] == ROOT)
sys_path_init.patch_sys_path_with_developer_paths = functions[0]  # and takes its wrapper away
dbx_patch.remove_all_patches()
dbx_patch.remove_all_patches()
print([f.__code__ for f in functions] == originals, dbx_patch.check_patch_status().live)
"""
    assert lab.run(code).splitlines() == ["True False", "[]", "1 False", "2 True", "True False"]


def test_running_kernel_is_patched_at_once(lab: Lab) -> None:
    """What was imported before us, handed out, or registered as a callback, obeys as well."""
    code = """
import os
from sys_path_init import patch_sys_path_with_developer_paths as handed_out
from dbruntime.pythonPathHook import PythonPathHook
from dbruntime.wsfs_import_hook import WsfsImportHook
hook = PythonPathHook()
callback = hook._handle_sys_path_maybe_updated
sys.path_importer_cache[ROOT] = WsfsImportHook(ROOT, test_prefix=PREFIX)
import a_library
del os.environ["DBX_PATCH_DISABLE"]
import dbx_patch
status = dbx_patch.patch_dbx()
print(status.live, [hook.state for hook in status.hooks if "pythonPathHook" in hook.hook])
callback()
handed_out()
print(sys.path[sys.path.index(LAYER) + 1] == ROOT, a_library.load("testx").__file__)
"""
    assert lab.run(code, OFF).splitlines() == ["True ['patched']", f"True {lab.root}/testx/__init__.py"]


def test_running_kernel_is_patched_where_nothing_is_installed(node: Node) -> None:
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    code = """
import dbx_patch
print(dbx_patch.check_patch_status().live)
print(dbx_patch.patch_dbx().live)
import testx
print(testx.__file__)
dbx_patch.remove_all_patches()
del sys.modules["testx"]
try:
    import testx
except ModuleNotFoundError as error:
    print(error)
"""
    done = node.make_notebook().run("import sys" + code, check=True)

    file = f"{node.project('testx')}/src/testx/__init__.py"
    assert done.stdout.splitlines() == ["False", "True", file, "No module named 'testx'"]
    assert done.stderr == ""
