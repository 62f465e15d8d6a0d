"""What a fingerprint contains, what it must never contain, and that taking one changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import provide_stand_ins
from tests.lab.kernel import Kernel, install_ipykernel, provide_real_hook
from tests.lab.node import OFF, Node, Notebook
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.interpreters import Interpreter

pytestmark = pytest.mark.oldest_and_newest
one_node = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

READ = "import json, dbx_patch; print(json.dumps(dbx_patch.fingerprint()))\n"
"""The code that prints a fingerprint."""
STAND_INS = (
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
IMPORT = f"import {', '.join(STAND_INS)}\n"


@pytest.fixture
def shell(installed: Node) -> Iterator[Path]:
    """The folder of Databricks' modules on a node. It has the stand-ins until the test ends."""
    folder = installed.root / "databricks/python_shell"
    stand_ins = provide_stand_ins(installed)
    before = set(folder.iterdir())
    shutil.copytree(stand_ins, folder, dirs_exist_ok=True)
    yield folder
    for left in set(folder.iterdir()) - before:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def read(process: Notebook, before: str = "", environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON that a process prints: its fingerprint, unless the code prints its own. Nothing is on stderr."""
    done = process.run(before if "print(" in before else before + READ, environ, check=True)
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


# What it contains


@pytest.mark.usefixtures("shell")
def test_fingerprint_describes_the_runtime_of_a_notebook(installed: Node, notebook: Notebook) -> None:
    version, library = installed.version, f"lib/{installed.version}"

    found = read(notebook, IMPORT, {"DATABRICKS_RUNTIME_VERSION": "16.4.x-photon-scala2.12"})

    assert (found["schema"], found["runtime"], found["kernel"]) == (2, "16.4.x-photon-scala2.12", False)
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
    foreign = f"/usr/lib/{version}/sitecustomize.py"
    loaded = found["sitecustomize"]["loaded"]
    assert loaded["file"] == (foreign if installed.has_sitecustomize else own)
    assert loaded["ours"] == ("block" if installed.has_sitecustomize else "all")
    assert found["sitecustomize"]["why"] == "first on the path"
    assert (found["shim"]["live"], found["shim"]["slot"]) == (True, 2 if installed.has_sitecustomize else 1)
    assert found["meta_path"][0] == found["meta_path"][-1] == found["path_hooks"][0] == "dbx-patch"
    assert "_frozen_importlib_external.PathFinder" in found["meta_path"]


@one_node
def test_hook_s_module_has_names_if_it_is_imported_and_else_a_digest(
    installed: Node, notebook: Notebook, shell: Path
) -> None:
    imported = read(notebook, IMPORT)
    off = read(notebook, environ=OFF)
    runtime = Notebook(installed, installed.root / "databricks/python3")
    elsewhere = read(runtime)

    for name in STAND_INS:
        source = (shell / f"{name.replace('.', '/')}.py").read_bytes()
        facts = {
            "origin": f"/databricks/python_shell/{name.replace('.', '/')}.py",
            "sha256": hashlib.sha256(source).hexdigest(),
        }
        assert imported["hooks"][name] == facts | {
            "seen": "imported",
            "state": imported["hooks"][name]["state"],
            "names": imported["hooks"][name]["names"],
        }
        assert off["hooks"][name] == facts | {"seen": "source", "state": None, "names": None}
        assert elsewhere["hooks"][name] == off["hooks"][name] | {"state": elsewhere["hooks"][name]["state"]}
    hook = imported["hooks"]["dbruntime.wsfs_import_hook"]
    assert hook["state"] == "patched"
    made = "def (self, path, site_packages=..., max_recursion_depth=..., test_prefix=...)"
    assert hook["names"]["WsfsImportHook.__init__"] == made
    assert hook["names"]["WsfsImportHook.find_spec"] == "def (self, fullname, target=...)"
    assert hook["names"]["WsfsImportHook.SITE_PACKAGE_WHITE_LIST"] == "tuple"
    assert hook["names"]["WsfsImportHook._WsfsImportHook__finder"] == "attribute"
    absent = {"seen": "absent", "origin": None, "sha256": None, "state": "armed", "names": None}
    assert imported["hooks"]["pyspark.worker_util"] == absent
    assert elsewhere["hooks"]["dbruntime.wsfs_import_hook"]["state"] == "armed"
    assert [found["shim"]["live"] for found in (imported, off, elsewhere)] == [True, False, True]
    assert [found["shim"]["slot"] for found in (imported, off, elsewhere)] == [1, None, 1]


@one_node
def test_fingerprint_names_the_sitecustomize_that_is_loaded_instead_of_ours(
    installed: Node, notebook: Notebook
) -> None:
    other = installed.root / "databricks/driver/sitecustomize.py"
    other.write_text("")
    put_before = f"import sys; sys.path.insert(0, {str(other.parent)!r})\n"
    try:
        late = read(notebook, put_before, {"PYTHONPATH": ""} | OFF)
        first = read(notebook)
    finally:
        other.unlink()

    assert late["sitecustomize"]["why"] == "others were put before it later"
    assert [file["ours"] for file in late["sitecustomize"]["found"]] == ["none", "all"]
    assert first["sitecustomize"]["loaded"]["file"] == "/databricks/driver/sitecustomize.py"
    assert (first["shim"]["live"], first["shim"]["slot"]) == (False, None)


@pytest.mark.matrix
@pytest.mark.one_python
@pytest.mark.releases("16.4")
@pytest.mark.real("notebook kernels")
def test_fingerprint_of_a_kernel_has_the_published_hook(
    interpreter: Interpreter, wheelhouse: Path, real_hook: Path, tmp_path: Path
) -> None:
    node = Node(tmp_path.resolve() / "node", interpreter, wheelhouse, sitecustomize=True).build()
    (tmp_path / "wheels").mkdir()
    install_ipykernel(node, tmp_path / "wheels")
    provide_real_hook(node, real_hook)
    node.install_dbx_patch()
    node.install_shim()
    with Kernel(node.make_notebook()) as kernel:
        found = json.loads(kernel.run(READ).text)

    assert (found["kernel"], found["runtime"]) == (True, None)
    hook = "dbruntime.autoreload.discoverability.hook.AutoreloadDiscoverabilityHook._patched_import"
    assert found["import"] == hook
    assert "dbruntime.WsfsPathFinder.WsfsPathFinder" in found["meta_path"]
    published = found["hooks"]["dbruntime.wsfs_import_hook"]
    assert (published["seen"], published["state"]) == ("imported", "patched")
    assert published["sha256"] == hashlib.sha256((real_hook / "wsfs_import_hook.py").read_bytes()).hexdigest()
    assert published["names"]["WsfsImportHook.find_spec"].startswith("def (self, ")


# What it must never contain

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
hook.of_{PROJECT} = hook.{TOKEN} = "{TOKEN}"
hook.Known.of_{PROJECT} = hook_of_{PROJECT}
hook.known = hook_of_{PROJECT}
hook.Known.__init__.__defaults__ = ("{TOKEN}",)
hook.Known.__doc__ = hook.known.__doc__ = "{TOKEN}"
hook.Known.known.__annotations__ = {{"x": "{TOKEN}"}}
sys.modules["pyspark.worker_util"] = alien = types.ModuleType("pyspark.worker_util")
alien.__file__, alien.of_{PROJECT} = HOME + "/worker_util.py", 1
live = sys.modules["dbx_patch_sitecustomize"]
live.hook_states["sys_path_init"] = "incompatible: {TOKEN}"
live.hook_states["pyspark.worker_util"] = "{TOKEN}"
live.journal["hook incompatible", "{TOKEN}", "{TOKEN}"] = None
live.VERSION, live.__spec__.origin = "{TOKEN}", HOME + "/shim.py"
"""
KNOWN = f"""
'''{TOKEN}'''
PASSWORD = "{TOKEN}"
def known(x: "{TOKEN}" = "{TOKEN}") -> "{TOKEN}": '''{TOKEN}'''
def parameters({TOKEN}, _{TOKEN}=1): pass
class Known:
    def __init__(self, password="{TOKEN}"): self.password = self.{TOKEN} = password
    def known(self, x, *, y="{TOKEN}"): pass
"""
SOURCE = KNOWN.replace("class Known", f"class of_{TOKEN}: pass\nclass Known")


@pytest.fixture
def planted(installed: Node, shell: Path) -> Iterator[str]:
    """Plant secrets on a node wherever a fingerprint looks, and return the code that plants them in a process."""
    layer = installed.layer(installed.cluster_libraries)
    (shell / "dbruntime/PostImportHook.py").write_text(KNOWN)
    (shell / "dbruntime/hidden.py").write_text(SOURCE)
    engine = installed.root / "databricks/spark/python/_engine_pyspark"
    engine.mkdir()
    (engine / "worker_util.py").write_text(SOURCE)
    for name in (f"__editable__.{PROJECT}-1.0.pth", f"{PROJECT}.pth", f"{USER}-nspkg.pth", f"_{PROJECT}.pth"):
        layer.joinpath(name).write_text(f"/Workspace/Users/{USER}@example.com/{PROJECT}\n")
    for name in (f"packaging-{TOKEN}.dist-info", f"{PROJECT}-1.0.dist-info", f"platformdirs-1.0+{USER}.dist-info"):
        (layer / name).mkdir()
    yield f"ROOT = {str(installed.root)!r}\nLAYER = {str(layer)!r}\n{PLANT}"
    shutil.rmtree(engine)
    for left in [*layer.glob("*.pth"), *layer.glob("*.dist-info")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def secrets_in(found: object) -> set[str]:
    output = json.dumps(found).casefold()
    return {secret for secret in PLANTED if secret.casefold() in output}


GUARDS = {
    "paths": {"_facts.redact": "lambda path: path if isinstance(path, str) else None"},
    "parts of paths": {"_redact.redact_part": "lambda part: part"},
    "forms": {"_facts.match": "lambda pattern, text: text"},
    "kinds of .pth files": {"_facts.fnmatchcase": "lambda *_: True", "_facts.list_kinds": "FileNames"},
    "states": {"_facts.STATES": "Anything()"},
    "modules": {"_redact.redact_module": "lambda name: str(name)", "_redact.is_found": "lambda *_: True"},
    "types": {"_redact.is_found": "lambda *_: True"},
    "types of editable finders": {"_redact.FINDER_TYPES": "Anything()"},
    "files of modules": {"_facts.may_touch": "lambda path: True"},
    "names": {"_signatures.NAME": "re.compile('.*')"},
    "names by others": {"_signatures.is_written": "lambda *_: True"},
    "defaults": {"_signatures.Default.__repr__": "lambda self: repr(hook.Known.__init__.__defaults__)"},
}
"""Each guard that keeps secrets out, and what it is replaced by to see a secret appear."""
READ_WITHOUT_GUARDS = f"""
import json, os, re
from dbx_patch._fingerprint import _facts, _redact, _signatures
class Anything(str):
    __contains__ = lambda self, other: True
class FileNames(tuple):
    __iter__ = lambda self: iter(os.listdir(LAYER))
    __contains__ = lambda self, other: True
def read_without(guard):
    kept = []
    for target, replacement in guard.items():
        owner, _, name = target.rpartition(".")
        owner = eval(owner)
        kept.append((owner, name, getattr(owner, name)))
        setattr(owner, name, eval(replacement))
    found = _facts.fingerprint()
    for owner, name, value in kept:
        setattr(owner, name, value)
    return found
print(json.dumps({{
    "guarded": _facts.fingerprint(),
    "without": {{name: read_without(guard) for name, guard in {GUARDS!r}.items()}},
    "guarded again": _facts.fingerprint(),
}}))
"""


@one_node
def test_no_secret_is_in_a_fingerprint_and_each_guard_keeps_one_out(notebook: Notebook, planted: str) -> None:
    answer = read(notebook, planted + READ_WITHOUT_GUARDS, ENVIRON)

    found = answer["guarded"]
    assert secrets_in(found) == set()
    assert found["runtime"] == found["shim"]["version"] == "<redacted>"
    assert found["hooks"]["sys_path_init"]["state"] == "incompatible"
    assert found["hooks"]["pyspark.worker_util"] == {
        "seen": "imported",
        "origin": "/Workspace/<redacted>",
        "sha256": None,
        "state": None,
        "names": None,
    }
    names = found["hooks"]["dbruntime.PostImportHook"]["names"]
    assert names["parameters"] == "def (redacted0, redacted1=...)"
    assert (names["PASSWORD"], names["Known.password"]) == ("str", "attribute")
    assert found["hooks"]["_engine_pyspark.worker_util"]["seen"] == "source"
    finder = "__editable___*_finder"
    assert found["meta_path"][-8:] == [
        *("<other>", "<other>", "<other>", f"{finder}._EditableFinder", f"{finder}.<other>", "<other>"),
        *("types.SimpleNamespace", "<other>"),
    ]
    assert answer["guarded again"] == found
    assert [guard for guard in GUARDS if not secrets_in(answer["without"][guard])] == []


# What it leaves as it is


@one_node
def test_taking_a_fingerprint_changes_nothing_and_imports_no_hook(
    installed: Node, notebook: Notebook, shell: Path
) -> None:
    """Not on disk and not in the process. A hook's code can do anything, so it must not be run."""
    (shell / "dbruntime/__init__.py").write_text("raise SystemExit('imported')")
    code = """
import json, sys
from dbx_patch._fingerprint import fingerprint
def state():
    things = [*sys.meta_path, *sys.path_hooks, *sys.path_importer_cache.values()]
    return list(sys.path), list(sys.path_importer_cache), list(sys.modules), list(map(id, things))
fingerprint()  # the first call imports the installer
before = state()
found = fingerprint()
print(json.dumps({
    "unchanged": state() == before,
    "seen": found["hooks"]["dbruntime.wsfs_import_hook"]["seen"],
    "imported": [name for name in sys.modules if name.startswith("dbruntime")],
}))
"""
    before = installed.snapshot()

    assert read(notebook, code) == {"unchanged": True, "seen": "source", "imported": []}
    assert installed.snapshot() == before


@one_node
def test_no_mount_is_touched_by_its_name_or_through_a_link(installed: Node, notebook: Notebook, tmp_path: Path) -> None:
    """Each such call is a remote one on a cluster."""
    link = installed.root / "databricks/linked"
    link.symlink_to("../Workspace/Users")
    code = f"""
import sys
sys.path[:0] = [{str(installed.project("x"))!r}, {str(link)!r}, {str(link / "x")!r}]
sys.path[:0] = [{str(installed.root)!r} + "/usr/../Workspace"]
sys.path[:0] = ["/Workspace/a", "/Volumes/a", "/dbfs/a", "/.fuse-mounts/wsfs", "", "relative", "//Workspace/a"]
"""
    # Imports search the whole path, so they are done in both processes.
    loaded = "import dbx_patch.installer, json\nfrom dbx_patch import fingerprint\n"
    mounts = (str(installed.workspace), str(link / "x"), "/Volumes", "/dbfs", "/.fuse-mounts", '"/Workspace')

    def count_calls(text: str) -> tuple[str, dict[str, int]]:
        """Run code under strace; return its output, and the number of system calls that name each mount."""
        log = tmp_path / "strace.log"
        strace = [require("strace"), "-f", "-qq", "-s", "500", "-e", "trace=!read,write,execve", "-o", log]
        done = installed.run([*strace, notebook.python, "-c", text], notebook.environ)
        lines = log.read_text().splitlines()
        return done.stdout, {mount: sum(mount in line for line in lines) for mount in mounts}

    try:
        _, before = count_calls(loaded + code)
        output, after = count_calls(loaded + code + READ)
    finally:
        link.unlink()

    assert after == before
    assert [entry["kind"] for entry in json.loads(output)["path"][:11]] == ["untouched"] * 11


# What it has to cope with


@one_node
def test_fingerprint_works_where_the_packages_that_the_installer_needs_are_missing(notebook: Notebook) -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(['packaging', 'packaging.version', 'platformdirs']))\n"

    found = read(notebook, code)

    assert found["sitecustomize"]["loaded"]["ours"] is None
    assert found["shim"]["live"] is True


@one_node
@pytest.mark.usefixtures("shell")
def test_objects_that_raise_at_every_access_do_no_harm(notebook: Notebook) -> None:
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
import json
from dbx_patch import _fingerprint, installer
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
    found = read(notebook, code)

    assert [entry.get("kind") for entry in found["path"]][-11:-7] == ["not a string"] * 4
    assert found["meta_path"][-7:] == [*["<other>"] * 6, "types.SimpleNamespace"]
    assert (found["shim"]["live"], found["shim"]["version"]) == (False, "<redacted>")
    seen = {name: hook["seen"] for name, hook in found["hooks"].items()}
    assert (seen["sys_path_init"], seen["pyspark.worker_util"]) == ("source", "absent")
    assert seen["dbruntime.wsfs_import_hook"] == "imported"
    names = found["hooks"]["dbruntime.pythonPathHook"]["names"]
    assert names == {"odd": "object", "Made": "import <other>", "Odd": "import <other>"}


@one_node
def test_source_that_must_not_be_read_is_unreadable(notebook: Notebook, shell: Path) -> None:
    """A file that is too long, a named pipe, which would wait for a writer, and one that no parser can read."""
    long, pipe, broken = (
        shell / "sys_path_init.py",
        shell / "dbruntime/pythonPathHook.py",
        shell / "dbruntime/wsfs_import_hook.py",
    )
    long.write_bytes(b"name = 1\n" * (1 << 17))
    pipe.unlink()
    os.mkfifo(pipe)
    broken.write_bytes(b"\0(" * 10_000)

    hooks = read(notebook)["hooks"]

    assert [hooks["sys_path_init"][key] for key in ("seen", "sha256")] == ["unreadable", None]
    assert hooks["dbruntime.pythonPathHook"]["seen"] == "absent"
    assert hooks["dbruntime.wsfs_import_hook"]["sha256"] == hashlib.sha256(broken.read_bytes()).hexdigest()
