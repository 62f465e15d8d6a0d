"""Installs that are made while an interpreter runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.node import Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

PRELUDE = '''\
import importlib, json, os, shutil, subprocess, sys
def try_import(name):
    try:
        return importlib.import_module(name).__file__
    except ModuleNotFoundError:
        return None
def install(files):
    """Write what pip wrote when it installed the project, after removing an earlier install, as pip does."""
    for name in os.listdir(files):
        source, target = os.path.join(files, name), os.path.join(LAYER, name)
        if os.path.isdir(source):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        else:
            if os.path.exists(target):
                os.unlink(target)
            shutil.copyfile(source, target)
'''
BY_PIP = """\
environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PIP_NO_INDEX": "1"}
command = [PIP, "-m", "pip", "--disable-pip-version-check", "--python", PYTHON, "install", "-q", "--no-deps"]
subprocess.run([*command, "--no-build-isolation", "-e", PROJECT], env=environ, check=True)  # as `%pip` does
"""
CASES = {
    f"{layer}-{style}": (layer, style) for layer in ("own layer", "runtime's layer") for style in ("path", "finder")
}


@dataclass(frozen=True)
class Install:
    """An editable install: its project, the file that its package is imported from, and what pip wrote."""

    project: Path
    package_file: str
    files: Path


class Later:
    """A notebook's interpreter, into one of whose layers a project is installed while it runs."""

    def __init__(self, notebook: Notebook, layer: str, style: str, name: str) -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.name = name
        self.style = style
        self.python = notebook.python if layer == "own layer" else notebook.node.python
        self.layer = self.node.root / notebook.layers[0 if layer == "own layer" else 2]
        self.first = self.make_install()
        self.second = self.move(self.first)

    def make_install(self) -> Install:
        """Install the project by pip, and move what pip wrote out of the layer. To copy it back takes no second."""
        project = self.node.copy_project(self.name)
        if self.style == "finder":
            (project / "src" / self.name).rename(project / self.name)
            (project / "src").rmdir()
        before = set(self.layer.iterdir())
        self.node.install_editable(project, python=self.python)  # the environment's own setuptools builds it
        files = self.node.root / "installs" / self.name
        files.mkdir(parents=True)
        for file in set(self.layer.iterdir()) - before:
            if file.name != "__pycache__":
                shutil.move(file, files)
        source = project / "src" if self.style == "path" else project
        return Install(project, f"{source}/{self.name}/__init__.py", files)

    def move(self, install: Install) -> Install:
        """Return the install of a copy in another folder: pip writes the same files, but for the path."""
        old, new = str(install.project), f"{install.project}-moved"
        shutil.copytree(old, new)
        files = install.files.with_name(f"{self.name}-moved")
        shutil.copytree(install.files, files)
        for file in [*files.glob("*.p*"), *files.glob("*/direct_url.json")]:
            file.write_text(file.read_text().replace(old, new))
        return Install(Path(new), install.package_file.replace(old, new), files)

    def ask(self, code: str) -> Any:
        """Run code in a fresh interpreter of the notebook; return the JSON that it prints."""
        given = {
            "LAYER": self.layer,
            "NAME": self.name,
            "PROJECT": self.first.project,
            "FIRST": self.first.files,
            "SECOND": self.second.files,
            "PIP": self.node.python,
            "PYTHON": self.python,
        }
        given_code = "".join(f"{name} = {str(value)!r}\n" for name, value in given.items())
        return self.notebook.ask(given_code + PRELUDE + code)

    def uninstall(self) -> None:
        """Remove what was installed."""
        for install in (self.first, self.second):
            for file in install.files.iterdir():
                path = self.layer / file.name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def laters() -> dict[tuple[Path, str], Later]:
    """What has been made so far, for each shared node and case."""
    return {}


@pytest.fixture(params=CASES)
def later(notebook: Notebook, request: pytest.FixtureRequest, laters: dict[tuple[Path, str], Later]) -> Iterator[Later]:
    key = notebook.node.root, request.param
    if key not in laters:
        laters[key] = Later(notebook, *CASES[request.param], f"later{list(CASES).index(request.param)}")
    yield laters[key]
    laters[key].uninstall()


@pytest.mark.core
@pytest.mark.parametrize(
    "later",
    ["own layer-path", "runtime's layer-finder"]
    + [pytest.param(case, marks=pytest.mark.matrix) for case in ("own layer-finder", "runtime's layer-path")],
    indirect=True,
)
def test_install_by_pip_is_importable_with_no_restart_and_no_call(later: Later) -> None:
    code = f"""
before = try_import(NAME)
{BY_PIP}
print(json.dumps({{"before": before, "package": try_import(NAME), "module": try_import(NAME + ".functions")}}))
"""
    assert later.ask(code) == {
        "before": None,
        "package": later.first.package_file,
        "module": later.first.package_file.replace("__init__", "functions"),
    }
    assert later.ask("print(json.dumps(try_import(NAME)))") == later.first.package_file


def test_install_wins_over_a_copy_in_a_lower_layer_and_loses_to_one_above(later: Later) -> None:
    code = "import json\ninstall(FIRST)\nprint(json.dumps(try_import(NAME)))"
    lower = later.node.root / later.notebook.layers[3] / later.name / "__init__.py"
    higher = later.node.root / "databricks/driver" / f"{later.name}.py"
    lower.parent.mkdir()
    lower.write_text("")
    try:
        assert later.ask(code) == later.first.package_file
        later.uninstall()
        higher.write_text("")
        assert later.ask(code) == str(higher)
        assert later.ask("print(json.dumps(try_import(NAME)))") == str(higher)  # in the next interpreter as well
    finally:
        shutil.rmtree(lower.parent)
        higher.unlink(missing_ok=True)


def test_second_install_from_another_folder_is_for_new_imports(later: Later) -> None:
    """As in the next interpreter: a root is on the path as long as a line names it, and a new finder takes over."""
    code = """
def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]
install(FIRST)
first = try_import(NAME)
install(SECOND)
kept = try_import(NAME)
forget()
second = try_import(NAME), try_import(NAME + ".functions")
shutil.rmtree(os.path.join(LAYER, next(name for name in os.listdir(SECOND) if name.endswith(".dist-info"))))
for name in os.listdir(SECOND):
    if not name.endswith(".dist-info"):
        os.unlink(os.path.join(LAYER, name))
forget()
print(json.dumps({
    "first": first,
    "while it is imported": kept,
    "after the second": second,
    "after it is uninstalled": try_import(NAME),
    "folders on the path": [entry for entry in sys.path if entry.startswith(PROJECT)],
    "finders": len([finder for finder in sys.meta_path if NAME in finder.__module__]),
}))
"""
    assert later.ask(code) == {
        "first": later.first.package_file,
        "while it is imported": later.first.package_file,
        "after the second": [
            later.second.package_file,
            later.second.package_file.replace("__init__", "functions"),
        ],
        "after it is uninstalled": None,
        "folders on the path": [],
        "finders": 0,
    }


@pytest.mark.parametrize(
    "later",
    ["own layer-finder", pytest.param("runtime's layer-finder", marks=pytest.mark.matrix)],
    indirect=True,
)
def test_project_that_is_installed_again_with_more_packages_has_them_at_once(later: Later) -> None:
    """As when a package was forgotten: the finder's module is written again, with more names in it."""
    more = later.first.project / "more_of_it"
    more.mkdir()
    more.joinpath("__init__.py").write_text("")
    code = f"""
install(FIRST)
before = try_import("more_of_it")
(finder,) = [name for name in os.listdir(FIRST) if name.endswith("_finder.py")]
with open(os.path.join(FIRST, finder)) as file:
    text = file.read()
changed = text.replace(" = {{", " = {{'more_of_it': {str(more)!r}, ", 1)
assert changed != text
os.unlink(os.path.join(LAYER, finder))
with open(os.path.join(LAYER, finder), "w") as file:
    file.write(changed)
print(json.dumps({{"before": before, "after": try_import("more_of_it"), "package": try_import(NAME)}}))
"""
    try:
        assert later.ask(code) == {
            "before": None,
            "after": f"{more}/__init__.py",
            "package": later.first.package_file,
        }
    finally:
        shutil.rmtree(more)


@pytest.mark.parametrize(
    "later",
    ["runtime's layer-path", pytest.param("own layer-finder", marks=pytest.mark.matrix)],
    indirect=True,
)
def test_install_is_importable_after_a_test_s_frozen_clock(later: Later) -> None:
    """freezegun and time-machine replace the functions of `time` (https://github.com/spulec/freezegun/issues/384)."""
    code = """
import time
real = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter")}
for name in real:
    setattr(time, name, lambda ns=name.endswith("_ns"): 1_894_579_200 * (10**9 if ns else 1))  # in 2030
while_it_is_frozen = try_import("an_optional_dependency")
for name, function in real.items():
    setattr(time, name, function)
install(FIRST)
time.sleep(0.01)  # imports within a millisecond are a burst, for which the layers are asked once
print(json.dumps({"while it is frozen": while_it_is_frozen, "after": try_import(NAME)}))
"""
    lower = later.node.root / later.notebook.layers[3] / f"{later.name}.py"  # an import that fails asks again anyway
    lower.write_text("")
    try:
        assert later.ask(code) == {"while it is frozen": None, "after": later.first.package_file}
    finally:
        lower.unlink()


def test_install_while_eight_threads_import_is_honored_once(later: Later) -> None:
    code = """
import threading
install(FIRST)
barrier = threading.Barrier(8)
seen = {NAME: [], "json.tool": []}
def work(name):
    barrier.wait()
    seen[name].append(try_import(name))
threads = [threading.Thread(target=work, args=[NAME if i % 2 else "json.tool"]) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
import dbx_patch_sitecustomize as shim
print(json.dumps({
    "imported from": seen[NAME],
    "json.tool": len(seen["json.tool"]),
    "finders": len([turn for turn in shim.load("turns").turns if NAME in turn[3]["pth"]]),
    "roots": len([entry for entry in sys.path if entry.startswith(PROJECT)]),
    "entries on the path twice": len(sys.path) - len(set(sys.path)),
}))
"""
    assert later.ask(code) == {
        "imported from": [later.first.package_file] * 4,
        "json.tool": 4,
        "finders": int(later.style == "finder"),
        "roots": int(later.style == "path"),
        "entries on the path twice": 0,
    }


@pytest.mark.core
@pytest.mark.parametrize("style", ["path", "finder"])
def test_second_project_of_a_namespace_is_importable_once_it_is_installed(notebook: Notebook, style: str) -> None:
    """A monorepo's projects share a namespace package. By then, that is imported: nothing looks for a new name."""
    node = notebook.node
    projects = {name: node.project(f"shared-{name}") for name in ("core", "jobs")}
    for name, project in projects.items():
        package = project / ("src" if style == "path" else "") / "shared_space" / name
        package.mkdir(parents=True)
        package.joinpath("__init__.py").write_text("")
        find = '[tool.setuptools.packages.find]\ninclude = ["shared_space*"]\n' if style == "finder" else ""
        backend = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        metadata = f'[project]\nname = "shared-{name}"\nversion = "1"\n'
        project.joinpath("pyproject.toml").write_text(backend + metadata + find)
    by_pip = BY_PIP.replace("PROJECT", f"{str(projects['jobs'])!r}")
    code = f"""
PIP, PYTHON = {str(node.python)!r}, {str(notebook.python)!r}
core, before = try_import("shared_space.core"), try_import("shared_space.jobs")
{by_pip}
print(json.dumps({{"core": core, "before": before, "jobs": try_import("shared_space.jobs")}}))
"""
    try:
        node.install_editable(projects["core"], python=notebook.python)
        asked = notebook.ask(PRELUDE + code)
    finally:
        node.pip("uninstall", "--quiet", "--yes", *[f"shared-{name}" for name in projects], python=notebook.python)
        for project in projects.values():
            shutil.rmtree(project)

    files = {
        name: f"{project}{'/src' if style == 'path' else ''}/shared_space/{name}/__init__.py"
        for name, project in projects.items()
    }
    assert asked == {**files, "before": None}


@pytest.fixture
def write() -> Iterator[Callable[[Path, str], Path]]:
    """A function that writes a file, which is removed after the test."""
    written: list[Path] = []

    def write(path: Path, text: str) -> Path:
        path.write_text(text)
        written.append(path)
        return path

    yield write
    for path in written:
        path.unlink(missing_ok=True)


def test_folder_is_listed_only_when_it_has_changed(notebook: Notebook) -> None:
    code = """
import json, os, sys, time
shim = sys.modules["dbx_patch_sitecustomize"]
time.sleep(0.2)  # a folder that has just changed is listed twice
def fail_to_import(name):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
fail_to_import("no_such_module")
listed = []
real = shim.posix
shim.posix = type(sys.implementation)(**vars(real))
shim.posix.listdir = lambda folder: listed.append(os.fsdecode(folder)) or real.listdir(folder)
for i in range(100):
    fail_to_import(f"no_such_module_{i}")
while_nothing_changes = list(listed)
layer = next(entry for entry in sys.path if entry.endswith("site-packages"))
open(layer + "/x.txt", "w").close()
time.sleep(0.2)
fail_to_import("no_such_module")
fail_to_import("no_such_module")
os.unlink(layer + "/x.txt")
print(json.dumps({"while nothing changes": while_nothing_changes, "after a change": listed, "layer": layer}))
"""
    asked = notebook.ask(code)

    assert asked["while nothing changes"] == []
    assert asked["after a change"] == [asked["layer"]]


def test_layers_are_asked_once_at_the_import_of_a_name_that_an_install_can_have(notebook: Notebook) -> None:
    """And once more if the import would fail: of a submodule, too, since a later install can have it.

    No install has a module of the standard library.
    """
    code = """
import email, json, sys
shim = sys.modules["dbx_patch_sitecustomize"]
asked = []
real = shim.posix
shim.posix = type(sys.implementation)(**vars(real))
shim.posix.stat = lambda folder: asked.append(folder) or real.stat(folder)
def ask(name):
    shim.ask_again_at = 0.0  # not part of a burst of imports
    asked.clear()
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
    return sorted(asked)
print(json.dumps({
    "submodule": ask("email.mime.nonmultipart"),
    "standard library": ask("colorsys") + ask("winreg"),  # which is there on Windows only
    "top level": ask("testx"),
    "missing submodule": ask("email.no_such_module"),
    "missing at the top level": ask("no_such_module"),
    "layers": sorted(filter(shim.is_layer, sys.path)),
}))
"""
    asked = notebook.ask(code)
    layers = asked.pop("layers")

    assert layers
    assert asked == {
        "submodule": [],
        "standard library": [],
        "top level": layers,
        "missing submodule": layers,
        "missing at the top level": sorted(layers * 2),
    }


def test_finder_that_is_gone_when_it_is_looked_at_costs_no_other_layer_its_installs(
    notebook: Notebook, write: Callable[[Path, str], Path]
) -> None:
    """As while pip replaces an install: the layer was listed, and the finder's module is not there any more."""
    node = notebook.node
    own = node.layer(notebook.environment)
    pth = write(own / "_editable_impl_gone.pth", "import _editable_impl_gone\n")
    module = own / "_editable_impl_gone.py"
    module.symlink_to("nowhere.py")
    code = """
import json, testx, dbx_patch_sitecustomize as shim
missing = [event[1] for event in shim.journal if event[0] == "finder missing"]
print(json.dumps({"testx": testx.__file__, "missing": missing}))
"""
    try:
        asked = notebook.ask(code)
    finally:
        module.unlink()

    assert asked == {"testx": f"{node.project('testx')}/src/testx/__init__.py", "missing": [str(pth)]}


def test_module_that_an_import_line_needs_as_well_is_imported_once(
    notebook: Notebook, write: Callable[[Path, str], Path]
) -> None:
    """The line runs while that very module is looked for: importlib would load it a second time."""
    node = notebook.node
    write(
        node.root / "databricks/python_shell/needed_by_both.py",
        "import builtins\nbuiltins.runs.append(__name__)\nclass Kind: pass\n",
    )
    layer = node.layer(notebook.environment)
    code = f"""
import builtins, importlib, json, os, sys
builtins.runs = []
try:
    with open({str(layer)!r} + "/_editable_impl_needs.py", "w") as file:
        file.write("import needed_by_both\\nkind = needed_by_both.Kind")
    with open({str(layer)!r} + "/_editable_impl_needs.pth", "w") as file:
        file.write("import _editable_impl_needs")
    import needed_by_both as module
finally:
    os.unlink({str(layer)!r} + "/_editable_impl_needs.py")
    os.unlink({str(layer)!r} + "/_editable_impl_needs.pth")
print(json.dumps({{
    "runs": list(runs),
    "the line has the same class": module.Kind is sys.modules["_editable_impl_needs"].kind,
    "sys.modules has the same module": sys.modules["needed_by_both"] is module,
    "loader": type(module.__loader__).__name__,
    "spec has the same loader": module.__spec__.loader is module.__loader__,
    "is being initialized": module.__spec__._initializing,
    "can be reloaded": importlib.reload(module) is module,
    "runs after that": len(runs),
}}))
"""
    assert notebook.ask(code) == {
        "runs": ["needed_by_both"],
        "the line has the same class": True,
        "sys.modules has the same module": True,
        "loader": "SourceFileLoader",
        "spec has the same loader": True,
        "is being initialized": False,
        "can be reloaded": True,
        "runs after that": 2,
    }


@pytest.mark.parametrize("module", ["slow_module", "sys_path_init"])
def test_import_line_that_needs_what_another_thread_is_importing_is_no_deadlock(
    module: str, notebook: Notebook, write: Callable[[Path, str], Path]
) -> None:
    """That module waits for the thread that runs the line. It may be a hook, which is patched once it has run."""
    node = notebook.node
    write(
        node.root / f"databricks/python_shell/{module}.py",
        "import builtins\nbuiltins.entered.set()\nbuiltins.installed.wait(60)\n"
        "def patch_sys_path_with_developer_paths(): pass\n"
        "try:\n    import another_name_that_is_not_there\nexcept ModuleNotFoundError as error:\n"
        "    builtins.failed.append(error.name)\n",
    )
    layer = node.layer(notebook.environment)
    code = f"""
import builtins, json, os, threading
builtins.entered, builtins.installed, builtins.failed = threading.Event(), threading.Event(), []
thread = threading.Thread(target=__import__, args=[{module!r}])
thread.start()
builtins.entered.wait(60)
try:
    with open({str(layer)!r} + "/_editable_impl_waits.py", "w") as file:
        file.write("import builtins\\nbuiltins.installed.set()\\nimport {module}\\n")
    with open({str(layer)!r} + "/_editable_impl_waits.pth", "w") as file:
        file.write("import _editable_impl_waits")
    try:
        import no_such_module
    except ModuleNotFoundError as error:
        failed.append(error.name)
finally:
    os.unlink({str(layer)!r} + "/_editable_impl_waits.py")
    os.unlink({str(layer)!r} + "/_editable_impl_waits.pth")
thread.join(60)
print(json.dumps({{"failed": sorted(failed), "thread still runs": thread.is_alive()}}))
"""
    assert notebook.ask(code) == {
        "failed": ["another_name_that_is_not_there", "no_such_module"],
        "thread still runs": False,
    }


def test_reload_of_the_shim_does_nothing(notebook: Notebook) -> None:
    """An upgrade changes its file while the process runs. Without a `__file__`, no autoreload looks at it."""
    code = """
import importlib, importlib.util, json, sys, testx
import dbx_patch_sitecustomize as shim
def list_values():
    return {name: value for name, value in vars(shim).items() if not name.startswith("__")}
before, finders = list_values(), list(sys.meta_path)
reloaded = [importlib.reload(shim) is shim for _ in range(3)]
print(json.dumps({
    "reloaded": reloaded,
    "same names and values": list_values() == before,
    "same finders": sys.meta_path == finders,
    "is found": importlib.util.find_spec("dbx_patch_sitecustomize") is shim.__spec__,
    "origin": shim.__spec__.origin,
    "has a file": hasattr(shim, "__file__"),
}))
"""
    layer = notebook.node.layer(notebook.node.runtime).resolve()

    assert notebook.ask(code) == {
        "reloaded": [True] * 3,
        "same names and values": True,
        "same finders": True,
        "is found": True,
        "origin": f"{layer}/dbx_patch_sitecustomize.py",
        "has a file": False,
    }


@pytest.mark.parametrize("lock", ["while a thread honors an install", "while a thread patches a hook"])
def test_forked_child_honors_installs_and_patches_hooks(
    lock: str, notebook: Notebook, write: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """The thread that holds the lock is not in the child."""
    node = notebook.node
    layer = node.layer(notebook.environment)
    write(node.root / "databricks/python_shell/sys_path_init.py", "def patch_sys_path_with_developer_paths(): pass\n")
    write(tmp_path / "late_in_the_child.py", "")
    code = f"""
import json, os, signal, sys, threading, time
shim = sys.modules["dbx_patch_sitecustomize"]
held, released = threading.Event(), threading.Event()
def hold(lock):
    with lock:
        held.set()
        released.wait(60)
lock = shim.loading if {lock!r} == "while a thread honors an install" else shim.load("hooks").patching
thread = threading.Thread(target=hold, args=[lock])
thread.start()
held.wait(60)
reading, writing = os.pipe()
child = os.fork()
if not child:
    signal.alarm(30)  # ends the child if it hangs
    before = time.monotonic()
    with open({str(layer)!r} + "/_editable_impl_late_in_the_child.pth", "w") as file:
        file.write({str(tmp_path)!r})
    try:
        import late_in_the_child, sys_path_init
        found = late_in_the_child.__file__
    except ImportError as error:
        found = repr(error)
    finally:
        os.unlink(file.name)
    answer = {{"file": found, "hook": shim.hook_states["sys_path_init"], "at once": time.monotonic() - before < 1}}
    os.write(writing, json.dumps(answer).encode())
    os._exit(0)
os.close(writing)
print(os.read(reading, 1000).decode() or "the child hangs")
os.waitpid(child, 0)
released.set()
thread.join()
"""
    assert notebook.ask(code) == {
        "file": f"{tmp_path}/late_in_the_child.py",
        "hook": "patched",
        "at once": True,
    }
