"""Tests what the shim does to each import hook that Databricks is known to have.

Hooks that are not published are stand-ins here (`tests/lab/dbruntime`). `test_real_hook.py` and `test_real_worker.py`
run the published ones.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import before_path, provide_stand_ins
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = [pytest.mark.core, pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])]

LIBRARY = "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"
START = """
import json, sys
ROOT, PREFIX, LAYER = {root!r}, {prefix!r}, {layer!r}
def answer(**values):
    print(json.dumps(values))
"""
"""The start of all code that the tests run in a notebook: the root of `testx`, the folder that contains `/Workspace`,
the layer that `testx` is installed in, and how the code answers."""
FINDERS = """
from dbruntime.workspace_import_machinery import _WorkspacePathEntryFinder
from dbruntime.wsfs_import_hook import WsfsImportHook
FINDERS = {
    "before DBR 18": (WsfsImportHook, lambda path: WsfsImportHook(path, test_prefix=PREFIX)),
    "since DBR 18": (_WorkspacePathEntryFinder, _WorkspacePathEntryFinder),
}
def find_file(name, load=__import__):
    sys.modules.pop(name, None)
    try:
        load(name)
    except ModuleNotFoundError:
        return None
    return sys.modules[name].__file__
"""
"""The hooks for folders below `/Workspace`: the class of each, and what makes its finder for a folder."""
OVERLAY = """
import importlib.util
class Overlay:
    module = file = loader = None
    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            return importlib.util.spec_from_file_location(name, self.file, loader=self.loader)
overlay = Overlay()
sys.meta_path.insert(1, overlay)  # after the shim's finder
def import_from(module, file, loader=None):
    overlay.module, overlay.file, overlay.loader = module, file, loader
    sys.modules.pop(module, None)
    return importlib.import_module(module)
"""
"""Imports a module from another file, or with another loader."""
STATES = """
from dbx_patch import check_patch_status
def states():
    return {hook.hook: [hook.state, hook.reason] for hook in check_patch_status().hooks}
"""


class Lab:
    """A notebook on a node that has the stand-ins."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.root = str(self.node.project("testx") / "src")
        self.folder = provide_stand_ins(self.node)

    def run(self, code: str, environ: Mapping[str, str] | None = None, *before: Path) -> str:
        """Run code in the notebook and return what it printed. It must succeed, and write nothing to stderr."""
        path = {"PYTHONPATH": before_path(self.notebook, *before, self.folder), "WSFS_TEST_DIR": str(self.node.root)}
        start = START.format(root=self.root, prefix=str(self.node.root), layer=self.notebook.layers[2])
        done = self.notebook.run(start + code, path | dict(environ or {}), check=True)
        assert done.stderr == ""
        return done.stdout.strip()

    def ask(self, code: str, environ: Mapping[str, str] | None = None, *before: Path) -> Any:
        """Run code in the notebook and return its answer."""
        return json.loads(self.run(code, environ, *before))


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


def write_extending_package(folder: Path) -> None:
    """Make a folder a package that also finds the modules of packages of its name in later entries of `sys.path`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)")


# sys_path_init


def test_roots_follow_their_layer_however_sys_path_init_makes_the_path(lab: Lab) -> None:
    """It can make a new list, and be called while its module is imported."""
    cases = ["", "rebind", "import", "rebind,import"]
    code = f"""
import os
def root_follows_its_layer():
    return sys.path[sys.path.index(LAYER) + 1] == ROOT and sys.path.count(ROOT) == 1
outcomes = {{}}
for case in {cases!r}:
    os.environ["LAB_SYS_PATH_INIT"] = case
    sys.modules.pop("sys_path_init", None)
    import sys_path_init
    from sys_path_init import patch_sys_path_with_developer_paths as handed_out
    outcomes[case] = dict(after_import=root_follows_its_layer())
    handed_out()
    outcomes[case].update(after_call_of_a_reference=root_follows_its_layer())
    sys_path_init.patch_sys_path_with_developer_paths()
    outcomes[case].update(after_call=root_follows_its_layer())
answer(**outcomes)
"""
    always = {"after_import": True, "after_call_of_a_reference": True, "after_call": True}

    assert lab.ask(code) == dict.fromkeys(cases, always)


def test_roots_of_a_layer_are_in_the_order_of_their_files_after_a_hook_has_made_the_path(lab: Lab) -> None:
    layer = lab.node.layer(lab.node.runtime)
    files = [layer / f"_editable_impl_{name}.pth" for name in ("a", "c", "d", "e", "f", "g")]
    later = layer / "_editable_impl_b.pth"
    roots = [lab.root, *[f"/nowhere/{name}" for name in "abcdefg"]]
    for file in files:
        file.write_text(f"/nowhere/{file.stem[-1]}\n")
    code = f"""
import os, sys_path_init
from dbruntime.pythonPathHook import PythonPathHook
with open({str(later)!r}, "w") as file:
    file.write("/nowhere/b")
hook = PythonPathHook()
def list_roots():
    at = sys.path.index(LAYER) + 1
    return sys.path[at : at + {len(roots)}]
import dbx_patch
dbx_patch.patch_dbx()
outcomes = dict(installed=list_roots())
hook.change_folder("/somewhere")
outcomes.update(after_a_change_of_folder=list_roots())
os.environ["LAB_SYS_PATH_INIT"] = "rebind"
sys_path_init.patch_sys_path_with_developer_paths()
answer(**outcomes, on_a_new_path=list_roots())
"""
    try:
        outcome = lab.ask(code)
    finally:
        for file in (*files, later):
            file.unlink(missing_ok=True)

    assert outcome == dict.fromkeys(("installed", "after_a_change_of_folder", "on_a_new_path"), roots)


# The finders of workspace folders


@pytest.mark.parametrize("interpreter_of", ["notebook", "runtime"])
def test_workspace_finders_give_editables_to_libraries_and_all_modules_to_users(lab: Lab, interpreter_of: str) -> None:
    """The runtime's interpreter has the shim in a layer on its own path, and there the hooks look for libraries.

    A user's module with the name of a hook's passes through the shim's finder, whose frames must not look like a
    library's.
    """
    helpers, namesake = lab.node.project("notebooks"), lab.node.project("namesake")
    namesake.mkdir(exist_ok=True)
    namesake.joinpath("sys_path_init.py").write_text("")
    code = f"""
{FINDERS}
import a_library
folders = [{str(namesake)!r}, {str(helpers)!r}, ROOT]
sys.path[:] = folders[:2] + [entry for entry in sys.path if entry != ROOT] + [ROOT]
outcomes = {{}}
for kind, (hook, make) in FINDERS.items():
    sys.path_importer_cache.update({{folder: make(folder) for folder in folders}})
    hook.walks = 0
    outcomes[kind] = dict(
        editable_for_a_library=find_file("testx", a_library.load),
        walked_for_it=hook.walks > 2,  # the finders of two other folders are asked first
        other_for_a_library=find_file("helper", a_library.load),
        other_for_the_user=find_file("helper"),
        named_as_a_hook_for_the_user=find_file("sys_path_init"),
    )
answer(**outcomes)
"""
    if interpreter_of == "runtime":
        lab.notebook = type(lab.notebook)(lab.node, lab.node.root / "databricks/python3")
    without = {
        "editable_for_a_library": None,
        "walked_for_it": True,
        "other_for_a_library": None,
        "other_for_the_user": f"{helpers}/helper.py",
        "named_as_a_hook_for_the_user": f"{namesake}/sys_path_init.py",
    }
    live = without | {"editable_for_a_library": f"{lab.root}/testx/__init__.py", "walked_for_it": False}

    assert lab.ask(code, OFF) == {"before DBR 18": without, "since DBR 18": without}
    assert lab.ask(code) == {"before DBR 18": live, "since DBR 18": live}


def test_library_imports_the_modules_of_a_finder_style_install_and_autoreload_tracks_them(lab: Lab, flat: Path) -> None:
    """The finder finds the package, and the hook finds the package's modules."""
    (flat / "flaty/sub").mkdir()
    (flat / "flaty/sub/deep.py").write_text("")
    (flat / "notebook_only").mkdir()
    (flat / "notebook_only/helper.py").write_text("")
    code = f"""
{FINDERS}
import a_library
from dbruntime.autoreload.file_module_utils import is_file_in_allowlist
sys.path.append({str(flat)!r})  # as in a notebook in that folder
outcomes = {{}}
for kind, (_, make) in FINDERS.items():
    sys.path_hooks.insert(0, make)
    sys.path_importer_cache.clear()
    import notebook_only
    outcomes[kind] = dict(
        module=find_file("flaty.functions", a_library.load),
        module_of_a_subpackage=find_file("flaty.sub.deep", a_library.load),
        module_of_another_package=find_file("notebook_only.helper", a_library.load),
    )
    sys.path_hooks.remove(make)
answer(**outcomes, tracked=is_file_in_allowlist({str(flat / "flaty/functions.py")!r}))
"""
    found = {
        "module": f"{flat}/flaty/functions.py",
        "module_of_a_subpackage": f"{flat}/flaty/sub/deep.py",
        "module_of_another_package": None,
    }

    assert lab.ask(code) == {"before DBR 18": found, "since DBR 18": found, "tracked": True}


@pytest.mark.parametrize("first", ["library", "user"])
def test_library_imports_all_of_a_namespace_that_a_finder_maps(lab: Lab, first: str) -> None:
    """setuptools' finder answers with a namespace package, whose folders are no roots."""
    project = lab.node.project("spacey")
    for name in ("one", "two", "three"):
        (project / "spacey" / name).mkdir(parents=True)
        (project / "spacey" / name / "module.py").write_text("")
        (project / "spacey" / name / "__init__.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "spacey"\nversion = "1"\n[tool.setuptools.packages.find]\ninclude = ["spacey*"]\n'
    )
    code = f"""
{FINDERS}
import a_library
outcomes = {{}}
for kind, (_, make) in FINDERS.items():
    sys.path_hooks.insert(0, make)
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "spacey"]:
        del sys.modules[name]
    outcomes[kind] = [
        find_file("spacey.one.module", dict(library=a_library.load, user=__import__)[{first!r}]),
        find_file("spacey.two.module"),
        find_file("spacey.three.module", a_library.load),
    ]
    sys.path_hooks.remove(make)
answer(**outcomes)
"""
    try:
        lab.node.install_editable(project)
        outcome = lab.ask(code)
    finally:
        lab.node.pip("uninstall", "--quiet", "--yes", "spacey")
        shutil.rmtree(project)

    files = [f"{project}/spacey/{name}/module.py" for name in ("one", "two", "three")]
    assert outcome == {"before DBR 18": files, "since DBR 18": files}


@pytest.mark.parametrize("spelled", ["/Workspace", "/.fuse-mounts/wsfs"])
def test_both_spellings_of_the_workspace_name_the_same_root(lab: Lab, spelled: str) -> None:
    """On some clouds `/Workspace` is a link to `/.fuse-mounts/wsfs`, and one process has paths of both kinds."""
    mount = lab.node.root / ".fuse-mounts"
    mount.mkdir(exist_ok=True)
    if not (mount / "wsfs").is_symlink():
        (mount / "wsfs").symlink_to("../Workspace")
    other = {"/Workspace": "/.fuse-mounts/wsfs", "/.fuse-mounts/wsfs": "/Workspace"}[spelled]
    project = lab.node.copy_project("spelt")
    root = lab.root.replace("/testx/", "/spelt/")
    pth = lab.node.layer(lab.node.runtime) / "_editable_impl_spelt.pth"
    pth.write_text(root.replace("/Workspace", spelled) + "\n")
    code = f"""
{FINDERS}
import a_library, sys_path_init
from dbruntime.autoreload.file_module_utils import is_file_in_allowlist
from dbruntime.pythonPathHook import PythonPathHook
root, other = {root.replace("/Workspace", spelled)!r}, {root.replace("/Workspace", other)!r}
outcomes = dict(honored=sys.path[sys.path.index(LAYER) + 2] == root, honored_twice=other in sys.path)
sys.path[sys.path.index(root)] = other
for kind, (hook, make) in FINDERS.items():
    sys.path_importer_cache[other] = make(other)
    hook.walks = 0
    outcomes[kind] = dict(file=find_file("spelt", a_library.load), walks=hook.walks)
hook = PythonPathHook()
hook.kept = [entry for entry in hook.kept if entry != other]
for name, kept in dict(after_a_change_of_folder=[], after_one_that_keeps_it=[root]).items():
    sys.path[sys.path.index(root if root in sys.path else other)] = other
    hook.kept += kept
    hook.change_folder(PREFIX + "/Workspace/Users/someone")
    outcomes[name] = [entry for entry in sys.path if entry in (root, other)] == [root]
    outcomes[name] &= sys.path[sys.path.index(LAYER) + 2] == root
sys_path_init.patch_sys_path_with_developer_paths()
answer(
    **outcomes,
    entries_on_a_new_path=len([entry for entry in sys.path if entry in (root, other)]),
    tracked=[is_file_in_allowlist(folder + "/spelt/x.py") for folder in (root, other)],
)
"""
    found = {"file": f"{root.replace('/Workspace', other)}/spelt/__init__.py", "walks": 0}
    try:
        outcome = lab.ask(code)
    finally:
        pth.unlink()
        shutil.rmtree(project)

    assert outcome == {
        "honored": True,
        "honored_twice": False,
        "before DBR 18": found,
        "since DBR 18": found,
        "after_a_change_of_folder": True,
        "after_one_that_keeps_it": True,
        "entries_on_a_new_path": 1,
        "tracked": [True, True],
    }


def test_workspace_finder_at_the_address_of_an_old_one_searches_its_own_folder(lab: Lab) -> None:
    """The shim remembers finders by their `id`, which Python uses again for a new object."""
    folder = lab.node.project("no-project")
    package = folder / "testx"
    package.mkdir(parents=True)
    package.joinpath("functions.py").write_text("")
    code = f"""
{FINDERS}
outcomes = {{}}
for kind, (hook, make) in FINDERS.items():
    files = set()
    for _ in range(100):
        old = make(ROOT + "/testx").find_spec("testx.functions").origin
        files.add((old, make({str(package)!r}).find_spec("testx.functions").origin))
    outcomes[kind] = list(files)
answer(**outcomes)
"""
    files = [[f"{lab.root}/testx/functions.py", f"{package}/functions.py"]]

    found = lab.ask(code)

    shutil.rmtree(folder)  # other tests on this node have its parent's folders on their path
    assert found == {"before DBR 18": files, "since DBR 18": files}


# PythonPathHook


def test_python_path_hook_keeps_the_roots_that_are_on_the_path_at_their_places(lab: Lab) -> None:
    code = """
from dbruntime.pythonPathHook import PythonPathHook
hook = PythonPathHook()
def change_folder(name):
    hook.change_folder(f"{PREFIX}/Workspace/Users/someone/{name}")
def neighbors():
    at = sys.path.index(ROOT)
    return sys.path[at - 1], sys.path[at + 1]
before = neighbors()
change_folder("a")
change_folder("b")
outcomes = dict(
    at_the_same_place=neighbors() == before,
    times_on_the_path=sys.path.count(ROOT),
    folders_of_the_notebook=[entry.rpartition("/")[2] for entry in sys.path if "/someone/" in entry],
)
sys.path.remove(ROOT)
change_folder("c")
outcomes.update(removed_by_the_user=ROOT not in sys.path)
sys.path.insert(0, ROOT)
change_folder("d")
outcomes.update(dropped_above_its_layer=neighbors() == before and sys.path.count(ROOT) == 1)
hook.kept.insert(0, ROOT)
change_folder("e")
answer(**outcomes, kept_above_its_layer=sys.path.index(ROOT) == 1 and sys.path.count(ROOT) == 1)
"""
    assert lab.ask(code) == {
        "at_the_same_place": True,
        "times_on_the_path": 1,
        "folders_of_the_notebook": ["b"],
        "removed_by_the_user": True,
        "dropped_above_its_layer": True,
        "kept_above_its_layer": True,
    }


# Autoreload


def test_autoreload_tracks_the_files_in_every_root(lab: Lab) -> None:
    elsewhere = lab.node.root / "elsewhere/foo"
    pth = lab.node.layer(lab.node.runtime) / "_editable_impl_elsewhere.pth"
    code = f"""
from dbruntime.autoreload import file_module_utils as allowed
import dbx_patch, importlib
elsewhere = {str(elsewhere)!r}
outcomes = dict(
    in_a_root=allowed.is_file_in_allowlist(ROOT + "/testx/functions.py"),
    in_a_folder_that_starts_like_a_root=allowed.is_file_in_allowlist(ROOT + "bar/testx.py"),
    above_a_root=allowed.is_file_in_allowlist(ROOT[:-1]),
    elsewhere_before_its_install=allowed.is_file_in_allowlist(elsewhere + "/module.py"),
)
with open({str(pth)!r}, "w") as file:
    print(elsewhere, file=file)
dbx_patch.patch_dbx()
outcomes.update(elsewhere_after_its_install=allowed.is_file_in_allowlist(elsewhere + "/module.py"))
importlib.reload(allowed)
outcomes.update(checks_after_a_reload=len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
dbx_patch.remove_all_patches()
outcomes.update(checks_after_the_removal=len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
dbx_patch.patch_dbx()
answer(**outcomes, checks_when_patched_again=len(allowed._AUTORELOAD_ALLOWLIST_CHECKS))
"""
    try:
        outcome = lab.ask(code)
    finally:
        pth.unlink(missing_ok=True)

    assert outcome == {
        "in_a_root": True,
        "in_a_folder_that_starts_like_a_root": False,
        "above_a_root": False,
        "elsewhere_before_its_install": False,
        "elsewhere_after_its_install": True,
        "checks_after_a_reload": 2,  # its own, and ours
        "checks_after_the_removal": 1,
        "checks_when_patched_again": 2,
    }


def test_allow_list_that_survives_a_reload_has_the_check_once(lab: Lab, tmp_path: Path) -> None:
    module, checks = "dbruntime.autoreload.file_module_utils", "_AUTORELOAD_ALLOWLIST_CHECKS"
    original = (lab.folder / module.replace(".", "/")).with_suffix(".py").read_text()
    file = tmp_path / "file_module_utils.py"
    file.write_text(original.replace(f"{checks} = [", f"{checks} = globals().get({checks!r}) or ["))
    code = f"""
{OVERLAY}
module = import_from({module!r}, {str(file)!r})
answer(checks=len(module.{checks}), after_a_reload=len(importlib.reload(module).{checks}))
"""
    assert lab.ask(code) == {"checks": 2, "after_a_reload": 2}


# States

HARMLESS = (
    "dbruntime.autoreload.discoverability.hook.AutoreloadDiscoverabilityHook._patched_import",
    "builtins_import_patcher.BuiltinsImportPatcher",
    "dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec",
    "dbruntime.workspace_import_machinery._WorkspacePathFinder.find_spec",
)
"""The hooks that need no patch, and that the lab has."""


def test_states_report_which_hooks_are_patched_and_which_work_without(lab: Lab, tmp_path: Path) -> None:
    """A harmless hook is verified by an import through it, which leaves nothing behind."""
    code = f"""
{STATES}
import sys_path_init, dbruntime.pythonPathHook, dbruntime.WsfsPathFinder as module
imported = states()

import builtins, keyword, os, tempfile
from importlib.util import spec_from_file_location
from dbruntime.workspace_import_machinery import _WorkspacePathFinder
from dbruntime.autoreload.discoverability.hook import AutoreloadDiscoverabilityHook
from builtins_import_patcher import BuiltinsImportPatcher
sys.meta_path[0:0] = [module.WsfsPathFinder(), _WorkspacePathFinder()]
AutoreloadDiscoverabilityHook().install()
BuiltinsImportPatcher().ensure()
installed = states()

def take_snapshot():
    files = os.listdir(tempfile.gettempdir())
    return list(sys.path), set(sys.modules), set(sys.path_importer_cache), sys.getprofile(), files
before = take_snapshot()
states()
left_nothing_behind = take_snapshot() == before

class WsfsPathFinder:
    def find_spec(self, name, path=None, target=None):
        if "probe" in name:
            raise RuntimeError("this hook raises")
module.WsfsPathFinder = WsfsPathFinder
sys.meta_path.insert(0, WsfsPathFinder())
raising = states()

class WsfsPathFinder:
    def find_spec(self, name, path=None, target=None):
        if "probe" in name:
            return spec_from_file_location(name, keyword.__file__)
module.WsfsPathFinder = WsfsPathFinder
sys.meta_path[0] = WsfsPathFinder()
answer(
    imported=imported,
    installed=installed,
    left_nothing_behind=left_nothing_behind,
    raising=raising,
    wrong=states(),
)
"""
    outcome = lab.ask(code, {"TMPDIR": str(tmp_path)})

    imported, installed = outcome["imported"], outcome["installed"]
    assert imported["sys_path_init.patch_sys_path_with_developer_paths"] == ["patched", ""]
    assert imported["dbruntime.pythonPathHook.PythonPathHook._handle_sys_path_maybe_updated"] == ["patched", ""]
    assert imported["dbruntime.wsfs_import_hook.WsfsImportHook.find_spec"] == ["armed", ""]
    assert imported["_engine_pyspark.worker_util.setup_spark_files"] == ["absent", ""]
    assert imported["builtins_import_patcher.BuiltinsImportPatcher"] == ["armed", ""]
    assert imported["dbruntime.PostImportHook.ImportHookFinder.find_spec"] == ["absent", ""]
    state, reason = imported["dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec"]
    assert state == "armed"
    assert "no import" in reason
    assert {hook: installed[hook] for hook in HARMLESS} == {hook: ["verified", ""] for hook in HARMLESS}
    assert outcome["left_nothing_behind"]
    for case, culprit in {"raising": "this hook raises", "wrong": "keyword.py"}.items():
        state, reason = outcome[case]["dbruntime.WsfsPathFinder.WsfsPathFinder.find_spec"]
        assert state == "incompatible"
        assert culprit in reason


# Unknown shapes

ATTRIBUTES = {
    "sys_path_init": ["patch_sys_path_with_developer_paths"],
    "dbruntime.wsfs_import_hook": ["WsfsImportHook", "WsfsImportHook.find_spec"],
    "dbruntime.workspace_import_machinery": ["_WorkspacePathEntryFinder", "_WorkspacePathEntryFinder.find_spec"],
    "dbruntime.pythonPathHook": ["PythonPathHook", "PythonPathHook._handle_sys_path_maybe_updated"],
    "dbruntime.autoreload.file_module_utils": [
        "register_autoreload_allowlist_check",
        "deregister_autoreload_allowlist_check",
    ],
}
"""Each hook's module, and the attributes that its patch needs."""


def test_hook_that_lacks_what_its_patch_needs_is_incompatible_and_left_as_it_is(lab: Lab, tmp_path: Path) -> None:
    """The module is as it would be without the shim, no import fails, and nothing is printed."""
    cases: dict[str, tuple[str, str]] = {}
    for module, names in ATTRIBUTES.items():
        original = (lab.folder / module.replace(".", "/")).with_suffix(".py").read_text()
        for name in names:
            changes = [f"del {name}", f"{name} = None", f"{name} = 'another type'"]
            changes += [f"{name} = print"] if "deregister" not in name else []  # a compiled function can't be patched
            for change in changes:
                file = tmp_path / f"case_{len(cases)}.py"
                file.write_text(f"{original}\n{change}\nkept = dict(globals())\n")
                cases[change] = module, str(file)
    code = f"""
{OVERLAY}
shim = sys.modules["dbx_patch_sitecustomize"]
outcomes = {{}}
for change, (module, file) in {cases!r}.items():
    imported = import_from(module, file)
    attributes = {{name: value for name, value in vars(imported).items() if name != "kept"}}
    outcomes[change] = dict(
        state=shim.hook_states[module].partition(":")[0],
        left_as_it_is=attributes == imported.kept,
        patched_functions=len(shim.load("hooks").patched),
        file_of_testx=importlib.reload(importlib.import_module("testx")).__file__,
    )
answer(**outcomes)
"""
    left_alone = {
        "state": "incompatible",
        "left_as_it_is": True,
        "patched_functions": 0,
        "file_of_testx": f"{lab.root}/testx/__init__.py",
    }

    assert lab.ask(code) == dict.fromkeys(cases, left_alone)


def test_workspace_finder_without_its_file_finder_does_what_it_does_without_the_shim(lab: Lab) -> None:
    code = f"""
{FINDERS}
import dbx_patch
shim = sys.modules["dbx_patch_sitecustomize"]
def delete(finder, name):
    delattr(finder, name)
def replace(finder, name):
    setattr(finder, name, None)
def outcome_of(find):
    try:
        return repr(find("testx"))
    except Exception as error:
        return repr(error)
outcomes = {{}}
for kind, (hook, make) in FINDERS.items():
    for change in (delete, replace):
        dbx_patch.patch_dbx()
        finder = make(ROOT)
        (name,) = [name for name, value in vars(finder).items() if type(value).__name__ == "FileFinder"]
        change(finder, name)
        live = outcome_of(finder.find_spec)
        state = shim.hook_states[hook.__module__].partition(":")[0]
        dbx_patch.remove_all_patches()
        same = live == outcome_of(finder.find_spec)
        outcomes[kind + ", " + change.__name__] = dict(state=state, same_as_without_the_shim=same)
answer(**outcomes)
"""
    outcome = lab.ask(code)

    left_alone = {"state": "incompatible", "same_as_without_the_shim": True}
    assert outcome == dict.fromkeys(
        [f"{kind}, {change}" for kind in ("before DBR 18", "since DBR 18") for change in ("delete", "replace")],
        left_alone,
    )


# Loaders, modules and threads


def test_hook_is_patched_whatever_loads_it_and_whatever_replaces_it(lab: Lab, tmp_path: Path) -> None:
    """Some of Databricks' loaders have no `exec_module` (https://github.com/pola-rs/polars/issues/5331)."""
    file = lab.folder / "sys_path_init.py"
    has_old = lab.node.interpreter.minor < 15  # until 3.14 is dropped: Python itself uses such loaders there
    replacing = tmp_path / "sys_path_init.py"
    replacing.write_text(
        "import sys, types\nother = types.ModuleType(__name__)\n"
        f"exec({file.read_text()!r}, vars(other))\nsys.modules[__name__] = other\n"
    )
    code = f"""
{OVERLAY}
import warnings
from importlib.machinery import SourceFileLoader
warnings.simplefilter("ignore")  # Python's own, about loaders without `exec_module`
real = SourceFileLoader("sys_path_init", {str(file)!r})
class OldLoader:
    def load_module(self, name):
        return real.load_module(name)
class NewLoader:
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        real.exec_module(module)
def describe(module):
    sys.path.remove(ROOT)
    module.patch_sys_path_with_developer_paths()
    return dict(loader=type(module.__spec__.loader).__name__, root_on_the_path=ROOT in sys.path)
outcomes = dict(
    old_loader={has_old} and describe(import_from("sys_path_init", {str(file)!r}, OldLoader())),
    new_loader=describe(import_from("sys_path_init", {str(file)!r}, NewLoader())),
)
import_from("sys_path_init", {str(replacing)!r})
module = sys.modules["sys_path_init"]
sys.path.remove(ROOT)
module.patch_sys_path_with_developer_paths()
answer(**outcomes, replaced=dict(replaced=not hasattr(module, "other"), root_on_the_path=ROOT in sys.path))
"""
    assert lab.ask(code) == {
        # Which that loader calls.
        "old_loader": has_old and {"loader": "SourceFileLoader", "root_on_the_path": True},
        "new_loader": {"loader": "NewLoader", "root_on_the_path": True},
        "replaced": {"replaced": True, "root_on_the_path": True},
    }


def test_namespace_package_with_the_name_of_a_hook_s_module_is_imported_as_any_other(lab: Lab, tmp_path: Path) -> None:
    for name in ("pythonPathHook", "another"):
        (tmp_path / "dbruntime" / name).mkdir(parents=True)
    code = """
import dbruntime.another, dbruntime.pythonPathHook as module
answer(
    path=list(module.__path__),
    loaded_as_the_other=type(module.__spec__.loader) is type(dbruntime.another.__spec__.loader),
)
"""
    outcome = lab.ask(code, {"PYTHONPATH": str(tmp_path)})

    assert outcome == {"path": [str(tmp_path / "dbruntime/pythonPathHook")], "loaded_as_the_other": True}


def test_reloads_further_imports_and_further_calls_leave_one_patch(lab: Lab) -> None:
    code = """
import importlib, sys_path_init, dbx_patch
calls = []
editables = sys.modules["dbx_patch_sitecustomize"].load("editables")
real = editables.place_roots
editables.place_roots = lambda *args: calls.append(1) or real(*args)
def count_patches():
    calls.clear()
    sys_path_init.patch_sys_path_with_developer_paths()
    return len(calls)
outcomes = dict(imported=count_patches())
importlib.reload(sys_path_init)
outcomes.update(reloaded=count_patches())
dbx_patch.patch_dbx()
dbx_patch.patch_dbx()
outcomes.update(patched_twice_more=count_patches())
del sys.modules["sys_path_init"]
import sys_path_init
answer(**outcomes, imported_again=count_patches())
"""
    assert lab.ask(code) == {"imported": 1, "reloaded": 1, "patched_twice_more": 1, "imported_again": 1}


def test_threads_that_import_hooks_at_once_leave_one_patch_each(lab: Lab) -> None:
    code = """
import threading
barrier = threading.Barrier(8)
imported = []
def work(name):
    barrier.wait()
    imported.append(__import__(name, fromlist=["x"]))
names = ["sys_path_init", "dbruntime.pythonPathHook"] * 4
threads = [threading.Thread(target=work, args=[name]) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
shim = sys.modules["dbx_patch_sitecustomize"]
diverted = shim.load("turns").diverted
originals = [constant for function in diverted for constant in function.__code__.co_consts
    if callable(constant) and constant.__module__ == function.__module__]
answer(
    imports=len(imported),
    modules=len(set(map(id, imported))),
    patched_functions=len(shim.load("hooks").patched),
    originals=len(originals),
    patched_originals=len([original for original in originals if original in diverted]),
)
"""
    assert lab.ask(code) == {
        "imports": 8,
        "modules": 2,
        "patched_functions": 2,
        "originals": 2,
        "patched_originals": 0,
    }


def test_function_that_two_hooks_share_is_patched_once(lab: Lab, tmp_path: Path) -> None:
    """The driver's module may import the executors'."""
    (tmp_path / "_engine_pyspark").mkdir()
    (tmp_path / "_engine_pyspark/__init__.py").write_text("")
    (tmp_path / "_engine_pyspark/wsfs_import_hook.py").write_text("from dbruntime.wsfs_import_hook import *\n")
    code = f"""
{STATES}
import _engine_pyspark.wsfs_import_hook, dbruntime.wsfs_import_hook as module, dbx_patch
(ours, original), = sys.modules["dbx_patch_sitecustomize"].load("turns").diverted.values()
reported = states()
dbx_patch.remove_all_patches()
answer(
    states=[reported[name + ".wsfs_import_hook.WsfsImportHook.find_spec"] for name in ("dbruntime", "_engine_pyspark")],
    restored=module.WsfsImportHook.find_spec.__code__ is original,
    file_of_the_original=original.co_filename,
)
"""
    assert lab.ask(code, None, tmp_path) == {
        "states": [["patched", ""], ["patched", ""]],
        "restored": True,
        "file_of_the_original": f"{lab.folder}/dbruntime/wsfs_import_hook.py",
    }


def test_patched_function_keeps_its_defaults_its_closure_and_its_name(lab: Lab) -> None:
    code = """
def make(bound):
    def function(first, second="default", *, third="keyword default"):
        return [first, second, third, bound]
    return function
hooks = sys.modules["dbx_patch_sitecustomize"].load("hooks")
function, other = make("closure"), make("another closure")
hooks.divert(function, lambda original, *args, **named: ["patched", *original(*args, **named)])
outcomes = dict(
    defaults=function(1), all_given=function(1, 2, third=3), name=function.__code__.co_name, not_patched=other(1)
)
hooks.stop()
answer(**outcomes, restored=function(1))
"""
    assert lab.ask(code) == {
        "defaults": ["patched", 1, "default", "keyword default", "closure"],
        "all_given": ["patched", 1, 2, 3, "closure"],
        "name": "function",
        "not_patched": [1, "default", "keyword default", "another closure"],
        "restored": [1, "default", "keyword default", "closure"],
    }


# Removing the patches, and patching a running kernel


def test_patches_are_removed_and_applied_again_around_other_code_s_wrappers(lab: Lab) -> None:
    code = """
import dbx_patch, functools
import sys_path_init, dbruntime.pythonPathHook as paths, dbruntime.wsfs_import_hook as wsfs
function = sys_path_init.patch_sys_path_with_developer_paths
functions = [function, paths.PythonPathHook._handle_sys_path_maybe_updated, wsfs.WsfsImportHook.find_spec]
shim = sys.modules["dbx_patch_sitecustomize"]
originals = [code for ours, code in shim.load("turns").diverted.values()]
def are_restored():
    return [function.__code__ for function in functions] == originals

calls = []
@functools.wraps(function)
def wrapper(*args):
    calls.append(1)
    return function(*args)
sys_path_init.patch_sys_path_with_developer_paths = wrapper

dbx_patch.remove_all_patches()
removed = dict(restored=are_restored(), root_on_the_path=ROOT in sys.path, finder=shim.watcher in sys.meta_path)
sys.path.append(ROOT)
sys_path_init.patch_sys_path_with_developer_paths()
removed.update(calls_of_the_wrapper=len(calls), hook_drops_the_root=ROOT not in sys.path)

dbx_patch.patch_dbx()
sys_path_init.patch_sys_path_with_developer_paths()
applied_again = dict(
    restored=are_restored(),
    calls_of_the_wrapper=len(calls),
    root_follows_its_layer=sys.path[sys.path.index(LAYER) + 1] == ROOT,
)

sys_path_init.patch_sys_path_with_developer_paths = function  # the other code removes its wrapper
dbx_patch.remove_all_patches()
dbx_patch.remove_all_patches()
answer(
    removed=removed,
    applied_again=applied_again,
    removed_twice=dict(restored=are_restored(), live=dbx_patch.check_patch_status().live),
)
"""
    assert lab.ask(code) == {
        "removed": {
            "restored": True,
            "root_on_the_path": False,
            "finder": False,
            "calls_of_the_wrapper": 1,
            "hook_drops_the_root": True,
        },
        "applied_again": {"restored": False, "calls_of_the_wrapper": 2, "root_follows_its_layer": True},
        "removed_twice": {"restored": True, "live": False},
    }


def test_running_kernel_is_patched_at_once(lab: Lab) -> None:
    """The patch reaches functions that were imported earlier, and callbacks."""
    code = """
import os
from sys_path_init import patch_sys_path_with_developer_paths as handed_out
from dbruntime.pythonPathHook import PythonPathHook
from dbruntime.wsfs_import_hook import WsfsImportHook
hook = PythonPathHook()
callback = hook._handle_sys_path_maybe_updated
sys.path_importer_cache[ROOT] = WsfsImportHook(ROOT, test_prefix=PREFIX)
import a_library, dbx_patch
before = str(dbx_patch.check_patch_status())
del os.environ["DBX_PATCH_DISABLE"]
status = dbx_patch.patch_dbx()
callback()
handed_out()
answer(
    before=before,
    live=status.live,
    states=[hook.state for hook in status.hooks if "pythonPathHook" in hook.hook],
    root_follows_its_layer=sys.path[sys.path.index(LAYER) + 1] == ROOT,
    file_for_a_library=a_library.load("testx").__file__,
)
"""
    assert lab.ask(code, OFF) == {
        "before": "dbx-patch is not live",
        "live": True,
        "states": ["patched"],
        "root_follows_its_layer": True,
        "file_for_a_library": f"{lab.root}/testx/__init__.py",
    }


@pytest.mark.matrix
@pytest.mark.oldest_and_newest
def test_running_kernel_is_patched_on_a_node_without_the_shim(node: Node) -> None:
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    code = """
import dbx_patch, json, sys
outcome = dict(live_before=dbx_patch.check_patch_status().live, live=dbx_patch.patch_dbx().live)
import testx
outcome.update(file=testx.__file__)
dbx_patch.remove_all_patches()
del sys.modules["testx"]
try:
    import testx
except ModuleNotFoundError as error:
    outcome.update(after_the_removal=str(error))
print(json.dumps(outcome))
"""
    done = node.make_notebook().run(code, check=True)

    assert json.loads(done.stdout) == {
        "live_before": False,
        "live": True,
        "file": f"{node.project('testx')}/src/testx/__init__.py",
        "after_the_removal": "No module named 'testx'",
    }
    assert done.stderr == ""
