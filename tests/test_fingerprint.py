"""What a fingerprint tells of a runtime, what it must never tell, and that a node can be built from one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.fingerprints import READ, RebuiltNotebook, rebuild
from tests.lab.hooks import provide_stand_ins
from tests.lab.kernel import Kernel, install_ipykernel, provide_real_hook
from tests.lab.node import OFF, Node, Notebook
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.interpreters import Interpreter

pytestmark = pytest.mark.pythons("3.10", "3.13")
one_node = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
one_python = pytest.mark.pythons("3.12")

SEEN = (
    "sys_path_init",
    "builtins_import_patcher",
    "dbruntime.wsfs_import_hook",
    "dbruntime.workspace_import_machinery",
    "dbruntime.pythonPathHook",
    "dbruntime.autoreload.file_module_utils",
    "dbruntime.autoreload.discoverability.hook",
    "dbruntime.WsfsPathFinder",
)
"""The hooks' modules that have a stand-in."""
IMPORT = f"import {', '.join(SEEN)}\n"


@pytest.fixture
def shell(installed: Node) -> Iterator[Path]:
    """The folder of a node in which Databricks' modules are; it has the stand-ins for a while."""
    folder = installed.root / "databricks/python_shell"
    stand_ins = provide_stand_ins(installed)
    before = set(folder.iterdir())
    shutil.copytree(stand_ins, folder, dirs_exist_ok=True)
    yield folder
    for left in set(folder.iterdir()) - before:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def read(process: Notebook, before: str = "", environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Take the fingerprint of a process; it says nothing else."""
    done = process.run(before + READ, environ, check=True)
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def of_runtime(node: Node) -> RebuiltNotebook:
    """Give a process of the runtime's own interpreter."""
    return RebuiltNotebook(node, node.root / "databricks/python3", ())


# What is told


@pytest.mark.usefixtures("shell")
def test_notebook_s_runtime_is_told(installed: Node) -> None:
    notebook = installed.make_notebook()
    version, library = installed.version, f"lib/{installed.version}"

    found = read(notebook, IMPORT, {"DATABRICKS_RUNTIME_VERSION": "16.4.x-photon-scala2.12"})

    assert (found["schema"], found["runtime"], found["kernel"]) == (1, "16.4.x-photon-scala2.12", False)
    assert (found["python"]["base_prefix"], found["python"]["user_site"]) == ("/usr", False)
    layers = [(entry["path"], entry["layer"]["opened_by_site"]) for entry in found["path"] if "layer" in entry]
    assert layers == [
        (f"/local_disk0/.ephemeral_nfs/envs/pythonEnv-<uuid>/{library}/site-packages", True),
        (f"/local_disk0/.ephemeral_nfs/cluster_libraries/python/{library}/site-packages", False),
        (f"/databricks/python/{library}/site-packages", False),
        (f"/usr/local/{library}/dist-packages", False),
        ("/usr/lib/python3/dist-packages", False),
    ]
    (runtime,) = (entry["layer"] for entry in found["path"] if entry["path"].startswith("/databricks/python/"))
    assert runtime["pth"] == {"__editable__.*.pth": 1, "distutils-precedence.pth": 1}
    assert set(runtime["needed"]) == {"packaging", "platformdirs"}
    assert {"path": "/Workspace/<redacted>", "kind": "untouched"} in found["path"]

    own = f"/databricks/python/{library}/site-packages/sitecustomize.py"
    loaded = f"/usr/lib/{version}/sitecustomize.py" if installed.has_sitecustomize else own
    assert found["sitecustomize"]["loaded"]["file"] == loaded
    assert found["sitecustomize"]["loaded"]["lines_of_ours"] == ("some" if installed.has_sitecustomize else "all")
    assert found["sitecustomize"]["why"] == "it is the first on the path"
    assert (found["shim"]["live"], found["shim"]["slot"]) == (True, 2 if installed.has_sitecustomize else 1)
    assert found["meta_path"][0] == found["meta_path"][-1] == found["path_hooks"][1] == "dbx-patch"
    assert "_frozen_importlib_external.PathFinder" in found["meta_path"]

    hook = found["hooks"]["dbruntime.wsfs_import_hook"]
    assert (hook["seen"], hook["state"]) == ("imported", "patched")
    assert hook["origin"] == "/databricks/python_shell/dbruntime/wsfs_import_hook.py"
    made = "def (self, path, site_packages=..., max_recursion_depth=..., test_prefix=...)"
    assert hook["names"]["WsfsImportHook.__init__"] == made
    assert hook["names"]["WsfsImportHook.find_spec"] == "def (self, fullname, target=...)"
    assert hook["names"]["WsfsImportHook.SITE_PACKAGE_WHITE_LIST"] == "tuple"
    assert hook["names"]["WsfsImportHook._WsfsImportHook__finder"] == "attribute"
    assert found["hooks"]["pyspark.worker_util"] == {"seen": "absent", "origin": None, "state": "armed", "names": None}


@one_node
def test_start_file_that_does_not_win_is_told(installed: Node) -> None:
    other = installed.root / "databricks/driver/sitecustomize.py"
    other.write_text("")
    try:
        late = read(
            installed.make_notebook(),
            environ={"PYTHONPATH": ""} | OFF,
            before=f"import sys; sys.path.insert(0, {str(other.parent)!r})\n",
        )
        first = read(installed.make_notebook())
    finally:
        other.unlink()

    assert late["sitecustomize"]["why"] == "others came before it later"
    assert [file["lines_of_ours"] for file in late["sitecustomize"]["found"]] == ["none", "all"]
    assert first["sitecustomize"]["loaded"]["file"] == "/databricks/driver/sitecustomize.py"
    assert (first["shim"]["live"], first["shim"]["slot"]) == (False, None)


@one_node
def test_modules_are_told_by_their_source_as_if_they_had_been_imported(installed: Node, shell: Path) -> None:
    (shell / "dbruntime/PostImportHook.py").write_text(KINDS)
    notebook = installed.make_notebook()

    source = read(notebook)["hooks"]
    imported = read(notebook, f"{IMPORT}import dbruntime.PostImportHook\n")["hooks"]

    for name in (*SEEN, "dbruntime.PostImportHook"):
        assert (source[name]["seen"], imported[name]["seen"]) == ("source", "imported")
        assert source[name]["origin"] == imported[name]["origin"]
        assert without_homes(source[name]["names"]) == without_homes(imported[name]["names"])
    told = imported["dbruntime.PostImportHook"]["names"]
    assert told["every"] == "def (a, b=..., /, c=..., *args, d, e=..., **named)"
    assert told["Kinds._Kinds__hidden"] == "def (self, _Kinds__own, *, last)"
    assert told["Kinds.of_class"] == "classmethod def (cls)"
    assert told["Kinds.later"] == "async def (self)"
    assert told["Kinds.Inner.VALUE"] == "int"


KINDS = """
from os import path as renamed
from typing import NamedTuple
def every(a, b=1, /, c=2, *args, d, e=3, **named): pass
by_lambda = lambda x, y=1: x
if True:
    conditional = {}
try:
    tried = frozenset()
except ImportError:
    tried = None
class Kinds(dict):
    VALUE = None
    def __init__(self, *, first, second=1):
        self.attribute, self.__private = first, second
    def __hidden(self, __own, *, last): pass
    @staticmethod
    def of_none(): pass
    @classmethod
    def of_class(cls): pass
    @property
    def value(self): return 1
    @value.setter
    def value(self, value): pass
    async def later(self): yield
    class Inner(Exception):
        VALUE = 1
"""


def without_homes(names: Mapping[str, str]) -> dict[str, str]:
    """Leave out what source alone can't tell: where an imported name is from, and what a call returns."""
    cut = {name: what.partition(" ")[0] if what.startswith("import ") else what for name, what in names.items()}
    return {name: what for name, what in cut.items() if name not in {"WISHES", "tried"}}


# The circle


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("process", ["notebook", "notebook-off", "runtime"])
def test_node_that_is_built_from_a_fingerprint_has_the_same(
    installed: Node, wheelhouse: Path, tmp_path: Path, process: str
) -> None:
    original = of_runtime(installed) if process == "runtime" else installed.make_notebook()
    before, environ = (IMPORT, {}) if process == "notebook" else ("", OFF if process == "notebook-off" else {})
    found = read(original, before, environ)

    twin = rebuild(found, tmp_path.resolve() / "node", installed.interpreter, wheelhouse)

    assert read(twin, before, environ) == found
    shutil.rmtree(twin.node.root)


@one_node
@one_python
@pytest.mark.usefixtures("shell")
def test_changed_hook_is_seen_on_a_node_that_is_built_from_its_fingerprint(
    installed: Node, wheelhouse: Path, tmp_path: Path
) -> None:
    found = read(installed.make_notebook(), IMPORT)
    changed = found["hooks"]["dbruntime.pythonPathHook"]["names"]
    changed["PythonPathHook.renamed"] = changed.pop("PythonPathHook._handle_sys_path_maybe_updated")

    twin = rebuild(found, tmp_path.resolve() / "node", installed.interpreter, wheelhouse)

    hooks = read(twin, IMPORT)["hooks"]
    assert hooks["dbruntime.pythonPathHook"]["state"] == "incompatible"
    assert {hooks[name]["state"] for name in SEEN} == {"patched", "incompatible", None}


@one_python
@pytest.mark.releases("16.4")
@pytest.mark.real("notebook kernels")
def test_kernel_s_fingerprint_has_the_published_hook(
    interpreter: Interpreter, wheelhouse: Path, real_hook: Path, tmp_path: Path
) -> None:
    node = Node(tmp_path.resolve() / "node", interpreter, wheelhouse, sitecustomize=True).build()
    (tmp_path / "wheels").mkdir()
    install_ipykernel(node, tmp_path / "wheels")
    provide_real_hook(node, real_hook)
    node.install_dbx_patch()
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    with Kernel(node.make_notebook()) as kernel:
        found = json.loads(kernel.run(READ).text)

    twin = rebuild(found, tmp_path.resolve() / "twin", interpreter, wheelhouse)
    imported = [name for name, hook in found["hooks"].items() if hook["seen"] == "imported"]
    rebuilt = read(twin, f"import {', '.join(imported)}\n")

    assert (found["kernel"], found["runtime"]) == (True, None)
    hook = "dbruntime.autoreload.discoverability.hook.AutoreloadDiscoverabilityHook._patched_import"
    assert found["import"] == hook
    assert "dbruntime.WsfsPathFinder.WsfsPathFinder" in found["meta_path"]
    assert found["hooks"]["dbruntime.wsfs_import_hook"]["state"] == "patched"
    assert found["hooks"]["dbruntime.wsfs_import_hook"]["names"]["WsfsImportHook.find_spec"].startswith("def (self, ")
    assert rebuilt["hooks"] == found["hooks"]
    assert [entry for entry in rebuilt["path"] if "layer" in entry] == [
        entry for entry in found["path"] if "layer" in entry
    ]


# What is never told

TOKEN, USER, PROJECT = "dapi0123456789abcdef", "somebody", "secretproject"
PLANTED = (TOKEN, USER, PROJECT, "example.com", "adb-42", "0123-456789-abcde")
ENVIRON = {
    "DATABRICKS_TOKEN": TOKEN,
    "DATABRICKS_HOST": "https://adb-42.azuredatabricks.net",
    "DATABRICKS_RUNTIME_VERSION": TOKEN,
    "DB_CLUSTER_ID": "0123-456789-abcde",
    "USER": USER,
    "HOME": f"/home/{USER}",
}
PLANT = f"""
import builtins, sys, types
HOME = "/Workspace/Users/{USER}@example.com"
sys.path[:0] = [HOME + "/{PROJECT}", "/home/{USER}/x", "/root/{USER}", "/Volumes/{USER}/a", "/dbfs/{USER}"]
sys.path += ["/{PROJECT}", "", "/"]
sys.path += ["{PROJECT}/relative", "/.fuse-mounts/wsfs/Users/{USER}@example.com", "/databricks/driver/{PROJECT}/src"]
sys.path += [ROOT + "/databricks/jars/{PROJECT}.jar", ROOT + "/databricks/{TOKEN}", "__editable__.{PROJECT}-1.finder.x"]
sys.path += [ROOT + "/Workspace/Users/{USER}@example.com/lib/python3.12/site-packages", ROOT + "/usr/lib/../{USER}"]
sys.path += [ROOT + "/local_disk0/0123-456789-abcde/pythonEnv-{USER}/lib/python3.12/site-packages", "https://adb-42.net"]
sys.path += ["__editable__.{PROJECT}-1.finder.__path_hook__", ROOT + "/databricks/python3.{USER}"]
SILENT = {{"find_spec": lambda *_: None}}
def make(name, module, **more):
    kind = type(name, (), {{"__module__": module, "__repr__": lambda self: "{TOKEN}", **SILENT, **more}})
    kind.__qualname__ = name
    return kind
def hook_of_{PROJECT}(path):
    raise ImportError
def find_{PROJECT}(*_):
    pass
find_{PROJECT}.find_spec = find_{PROJECT}
lied = make("{PROJECT}", "json", __class__=property(lambda self: types.ModuleType), __init__=lambda self, *path:
    hook_of_{PROJECT}(path) if path else None)
sys.meta_path += [make("X{TOKEN}", "json")(), lied(), make("Finder", "{PROJECT}")(), make("_EditableFinder",
    "__editable___{PROJECT}_1_finder"), make("{PROJECT}", "__editable___x_finder"), make("{PROJECT}", "dbruntime.x")()]
sys.meta_path += [types.SimpleNamespace(find_spec=find_{PROJECT}), find_{PROJECT}]
sys.path_hooks += [hook_of_{PROJECT}, lied]
def import_{PROJECT}(self, *args, of=builtins.__import__, **named):
    return of(*args, **named)
builtins.__import__ = types.MethodType(import_{PROJECT}, "{TOKEN}")
sys.argv = ["{TOKEN}"]
import sys_path_init, dbruntime.WsfsPathFinder, dbruntime.PostImportHook as hook
hook.of_{PROJECT} = hook.{TOKEN}  = "{TOKEN}"
hook.Told.of_{PROJECT} = hook_of_{PROJECT}
hook.told = hook_of_{PROJECT}
hook.Told.__init__.__defaults__ = ("{TOKEN}",)
hook.Told.__doc__ = hook.told.__doc__ = "{TOKEN}"
hook.Told.told.__annotations__ = {{"x": "{TOKEN}"}}
sys.modules["pyspark.worker_util"] = alien = types.ModuleType("pyspark.worker_util")
alien.__file__, alien.of_{PROJECT} = HOME + "/worker_util.py", 1
live = sys.modules["dbx_patch_sitecustomize"]
live.hook_states["sys_path_init"] = "incompatible: {TOKEN}"
live.hook_states["pyspark.worker_util"] = "{TOKEN}"
live.journal.append("{TOKEN}")
live.VERSION, live.__file__ = "{TOKEN}", HOME + "/shim.py"
"""
TOLD = f"""
'''{TOKEN}'''
PASSWORD = "{TOKEN}"
def told(x: "{TOKEN}" = "{TOKEN}") -> "{TOKEN}": '''{TOKEN}'''
def parameters({TOKEN}, _{TOKEN}=1): pass
class Told:
    def __init__(self, password="{TOKEN}"): self.password = self.{TOKEN} = password
    def told(self, x, *, y="{TOKEN}"): pass
"""
SOURCE = TOLD.replace("class Told", f"class of_{TOKEN}: pass\nclass Told")


@pytest.fixture
def planted(installed: Node, shell: Path) -> Iterator[str]:
    """Plant secrets on a node wherever a fingerprint looks; give the code that plants them in a process."""
    layer = installed.layer(installed.cluster_libraries)
    (shell / "dbruntime/PostImportHook.py").write_text(TOLD)
    (shell / "dbruntime/hidden.py").write_text(SOURCE)
    engine = installed.root / "databricks/spark/python/_engine_pyspark"
    engine.mkdir()
    (engine / "worker_util.py").write_text(SOURCE)
    for name in (f"__editable__.{PROJECT}-1.0.pth", f"{PROJECT}.pth", f"{USER}-nspkg.pth", f"_{PROJECT}.pth"):
        layer.joinpath(name).write_text(f"/Workspace/Users/{USER}@example.com/{PROJECT}\n")
    for name in (f"packaging-{TOKEN}.dist-info", f"{PROJECT}-1.0.dist-info", f"platformdirs-1.0+{USER}.dist-info"):
        (layer / name).mkdir()
    yield f"ROOT = {str(installed.root)!r}\n{PLANT}"
    shutil.rmtree(engine)
    for left in [*layer.glob("*.pth"), *layer.glob("*.dist-info")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def secrets_in(output: str) -> set[str]:
    return {secret for secret in PLANTED if secret.casefold() in output.casefold()}


@one_node
def test_no_secret_is_told(installed: Node, planted: str) -> None:
    notebook = installed.make_notebook()

    found = read(notebook, planted, ENVIRON)

    assert secrets_in(json.dumps(found)) == set()
    assert found["runtime"] == found["shim"]["version"] == "<redacted>"
    assert found["hooks"]["sys_path_init"]["state"] == "incompatible"
    assert found["hooks"]["pyspark.worker_util"] == {
        "seen": "imported",
        "origin": "/Workspace/<redacted>",
        "state": None,
        "names": None,
    }
    names = found["hooks"]["dbruntime.PostImportHook"]["names"]
    assert names["parameters"] == "def (redacted0, redacted1=...)"
    assert (names["PASSWORD"], names["Told.password"]) == ("str", "attribute")
    assert found["hooks"]["_engine_pyspark.worker_util"]["seen"] == "source"
    assert found["meta_path"][-8:] == ["<other>"] * 3 + ["__editable___*_finder._EditableFinder"] + [
        "__editable___*_finder.<other>"
    ] + ["<other>"] * 1 + ["types.SimpleNamespace", "<other>"]


GUARDS = {
    "paths": "_fingerprint.redact = lambda path: path if isinstance(path, str) else None",
    "parts of paths": "_redact.redact_part = lambda part: part",
    "forms": "_fingerprint.match = lambda pattern, text: text",
    "kinds of .pth files": "_fingerprint.fnmatchcase = lambda *_: True; _fingerprint.PTH = Own()",
    "states": "_fingerprint.STATES = Any()",
    "modules": "_redact.tell_module = lambda name: str(name); _redact.is_found = lambda *_: True",
    "types": "_redact.is_found = lambda *_: True",
    "types of editable finders": "_redact.FINDER_TYPES = Any()",
    "files of modules": "_fingerprint.may_touch = lambda path: True",
    "names": "_shape.NAME = re.compile('.*')",
    "names by others": "_shape.is_written = lambda *_: True",
    "defaults": "_shape.Default.__repr__ = lambda self: repr(hook.Told.__init__.__defaults__)",
}
"""Each guard that keeps secrets in, and how it is taken away."""


@one_node
@one_python
@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_keeps_a_secret_in(installed: Node, planted: str, guard: str) -> None:
    """Else the test above would prove nothing."""
    code = f"""
import os, re, string
from dbx_patch import _fingerprint, _redact, _shape
class Any(str):
    __contains__ = lambda self, other: True
class Own(tuple):
    __iter__ = lambda self: (name for name in os.listdir({str(installed.layer(installed.cluster_libraries))!r}))
    __contains__ = lambda self, other: True
{GUARDS[guard]}
"""
    found = read(installed.make_notebook(), planted + code, ENVIRON)

    assert secrets_in(json.dumps(found))


# What it leaves as it is


@one_node
def test_nothing_is_changed(installed: Node, shell: Path) -> None:
    """Not on disk, not in the process, and no hook's module is imported: its code may do anything."""
    (shell / "dbruntime/__init__.py").write_text("raise SystemExit('imported')")
    notebook = installed.make_notebook()
    code = """
import json, sys
from dbx_patch._fingerprint import fingerprint
def state():
    things = [*sys.meta_path, *sys.path_hooks, *sys.path_importer_cache.values()]
    return list(sys.path), list(sys.path_importer_cache), list(sys.modules), list(map(id, things))
fingerprint()  # it loads the installer's block, once
before = state()
found = fingerprint()
print(json.dumps([state() == before, found, [name for name in sys.modules if name.startswith("dbruntime")]]))
"""
    before = installed.snapshot()

    same, found, imported = json.loads(notebook.run(code, check=True).stdout)

    assert (same, imported) == (True, [])
    assert found["hooks"]["dbruntime.wsfs_import_hook"]["seen"] == "source"
    assert installed.snapshot() == before


@one_node
def test_no_mount_is_touched(installed: Node) -> None:
    """Neither by its own name, nor by a link that leads there; each such call is a remote one."""
    link = installed.root / "databricks/linked"
    link.symlink_to("../Workspace/Users")
    code = f"""
import sys
sys.path[:0] = [{str(installed.project("x"))!r}, {str(link)!r}, {str(link / "x")!r}]
sys.path[:0] = [{str(installed.root)!r} + "/usr/../Workspace"]
sys.path[:0] = ["/Workspace/a", "/Volumes/a", "/dbfs/a", "/.fuse-mounts/wsfs", "", "relative", "//Workspace/a"]
"""
    notebook = installed.make_notebook()
    modules = "import ast, dis, fnmatch, hashlib, inspect, json, platform, re, secrets, tempfile, dbx_patch._process"
    loaded = f"{modules}, dbx_patch.installer, dbx_patch._fingerprint\n"  # imports, which ask the whole path
    try:
        for folder in (str(installed.workspace), str(link / "x"), "/Volumes", "/dbfs", "/.fuse-mounts", '"/Workspace'):
            base = trace(installed, Path(folder), [notebook.python, "-c", loaded + code], notebook.environ)[1]
            command = [notebook.python, "-c", loaded + code + READ]
            said, calls = trace(installed, Path(folder), command, notebook.environ)
            assert calls == base, folder
            assert [entry["kind"] for entry in json.loads(said)["path"][:11]] == ["untouched"] * 11
    finally:
        link.unlink()


@one_node
def test_what_it_needs_may_be_missing(installed: Node) -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(['packaging', 'packaging.version', 'platformdirs']))\n"

    found = read(installed.make_notebook(), code)

    assert found["sitecustomize"]["loaded"]["lines_of_ours"] is None
    assert found["shim"]["live"] is True


@one_node
@pytest.mark.usefixtures("shell")
def test_odd_objects_do_no_harm(installed: Node) -> None:
    code = """
import sys, types
class Odd:
    def raises(self, *_): raise RuntimeError
    __repr__ = __eq__ = __hash__ = __bool__ = __getattribute__ = __getattr__ = __len__ = raises
    __class__ = property(raises)
class Text(str):
    startswith = endswith = rstrip = split = __str__ = __eq__ = __getattribute__ = Odd.raises
    __hash__ = str.__hash__
class Meta(type):
    def __getattribute__(self, name): raise RuntimeError
    __module__ = property(Odd.raises)
class Made(metaclass=Meta):
    find_spec = None
class Module(types.ModuleType):
    def __getattribute__(self, name): raise RuntimeError
    __dict__ = __file__ = property(Odd.raises)
from dbx_patch import _fingerprint, installer
import json
sys.path += [None, 7, b"/x", Odd(), Text("/usr/lib"), "", "\\0", "/usr/\\0", "\\udcff", "/" * 5000, "/a" * 5000]
sys.meta_path += [None, Odd(), Odd, Made, object.__new__(Made), Text("x"), types.SimpleNamespace()]
sys.path_hooks += [None, Odd(), Meta]
sys.modules["sys_path_init"] = Odd()
sys.modules["pyspark.worker_util"] = None
sys.modules["dbruntime.wsfs_import_hook"] = Module("dbruntime.wsfs_import_hook")
sys.modules["dbruntime.pythonPathHook"] = odd = types.ModuleType("dbruntime.pythonPathHook")
vars(odd).update({"odd": Odd(), 7: 7, "Made": Made, "Odd": Odd, "__file__": Odd()})
sys.modules["dbx_patch_sitecustomize"] = types.ModuleType("dbx_patch_sitecustomize")
vars(sys.modules["dbx_patch_sitecustomize"]).update(started=Odd(), hook_states=Odd(), loaded=Odd(), VERSION=Odd())
"""
    found = read(installed.make_notebook(), code)

    assert [entry.get("kind") for entry in found["path"]][-11:-7] == ["no string"] * 4
    assert found["meta_path"][-7:] == [*["<other>"] * 6, "types.SimpleNamespace"]
    assert (found["shim"]["live"], found["shim"]["version"]) == (False, "<redacted>")
    seen = {name: hook["seen"] for name, hook in found["hooks"].items()}
    assert (seen["sys_path_init"], seen["pyspark.worker_util"]) == ("source", "absent")
    assert seen["dbruntime.wsfs_import_hook"] == "imported"
    names = found["hooks"]["dbruntime.pythonPathHook"]["names"]
    assert names == {"odd": "object", "Made": "import <other>", "Odd": "import <other>"}


SOURCES = {
    "syntax error": b"def (\n",
    "NUL bytes": b"\0\0",
    "not UTF-8": b"name = '\xff\xfe'\n",
    "unknown encoding": b"# coding: nonsense\n",
    "too long": b"name = 1\n" * (1 << 17),
    "too deep": b"(" * 10_000,
    "a long sum": b"x = " + b"1+" * 65_000 + b"1\n",
    "many signs": b"x = " + b"-" * 130_000 + b"1\n",
    "a named pipe": None,
}


@one_node
@pytest.mark.parametrize("name", SOURCES)
def test_source_that_can_t_be_read_is_told_so(installed: Node, shell: Path, name: str) -> None:
    file, source = shell / "sys_path_init.py", SOURCES[name]
    file.unlink()
    if source is None:
        os.mkfifo(file)
    else:
        file.write_bytes(source)

    hook = read(installed.make_notebook())["hooks"]["sys_path_init"]

    if name in {"a long sum", "many signs"} and hook["seen"] == "source":  # some parsers can
        assert hook["names"] == {"x": "object"}
    else:
        assert (hook["seen"], hook["names"]) == ("absent" if source is None else "unreadable", None)
