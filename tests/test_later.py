"""Installs that are made while an interpreter runs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

PRELUDE = """\
import json, os, subprocess, sys
def pip(*arguments):  # as `%pip` does in a notebook
    environ = {{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}}
    subprocess.run([{pip!r}, "-m", "pip", "--disable-pip-version-check", "--python", PYTHON, *arguments, "-q"],
        env=environ | {{"PIP_NO_INDEX": "1"}}, check=True)
def ask(name):
    try:
        return __import__(name).__file__
    except ModuleNotFoundError:
        return None
def install(project):
    pip("install", "--no-deps", "--no-build-isolation", "-e", project)
"""
STYLES = ("path", "finder")
LAYERS = ("own", "runtime")


class Later:
    """A notebook's interpreter, into one of whose layers a project is installed while it runs."""

    def __init__(self, notebook: Notebook, layer: str, style: str, name: str) -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.name = name
        self.python = notebook.python if layer == "own" else notebook.node.python
        self.layer = notebook.layers[0 if layer == "own" else 2]
        self.projects: list[Path] = []
        self.style = style
        self.project = self.make_project(name)

    def make_project(self, folder: str) -> Path:
        """Make a project of the name `self.name` in a workspace folder."""
        project = self.node.copy_project(self.name, folder)
        if self.style == "finder":
            (project / "src" / self.name).rename(project / self.name)
            (project / "src").rmdir()
        self.projects.append(project)
        return project

    def file(self, project: Path | None = None) -> str:
        """Name the package's file in a project."""
        folder = project or self.project
        return f"{folder / 'src' if self.style == 'path' else folder}/{self.name}/__init__.py"

    def run(self, code: str) -> list[str]:
        """Run code in the notebook's interpreter; return the lines it printed."""
        prelude = f"PYTHON, NAME, PROJECT = {str(self.python)!r}, {self.name!r}, {str(self.project)!r}\n"
        prelude += PRELUDE.format(pip=str(self.node.python))
        done = self.notebook.run(prelude + code, check=True)
        return done.stdout.splitlines()

    def clean(self) -> None:
        """Leave the shared node as it was."""
        self.node.pip("uninstall", "--quiet", "--yes", self.name, python=self.python)
        for project in self.projects:
            shutil.rmtree(project)


@pytest.fixture(params=[(layer, style) for layer in LAYERS for style in STYLES], ids="-".join)
def later(installed: Node, request: pytest.FixtureRequest) -> Iterator[Later]:
    layer, style = request.param
    # pip builds by the setuptools of the environment it installs for.
    later = Later(installed.make_notebook(), layer, style, f"later{LAYERS.index(layer)}{STYLES.index(style)}")
    yield later
    later.clean()


def test_install_is_importable_with_no_restart_and_no_call(later: Later) -> None:
    code = "print(ask(NAME))\ninstall(PROJECT)\nprint(ask(NAME), ask(NAME + '.functions') is not None)"

    assert later.run(code) == ["None", f"{later.file()} True"]
    assert later.run("print(ask(NAME))") == [later.file()]


def test_install_wins_over_an_older_copy_below_that_would_have_answered(later: Later) -> None:
    copy = later.node.root / later.notebook.layers[3] / later.name / "__init__.py"
    copy.parent.mkdir()
    copy.write_text("")
    code = "import json\ninstall(PROJECT)\nprint(ask(NAME))"
    try:
        assert later.run(code) == [later.file()]
    finally:
        shutil.rmtree(copy.parent)


def test_install_loses_to_what_stands_above(later: Later) -> None:
    above = later.node.root / "databricks/driver" / f"{later.name}.py"
    above.write_text("")
    try:
        assert later.run("install(PROJECT)\nprint(ask(NAME))") == [str(above)]
        assert later.run("print(ask(NAME))") == [str(above)]
    finally:
        above.unlink()


def test_second_install_from_elsewhere_is_for_the_next_interpreter(later: Later) -> None:
    second = later.make_project(f"{later.name}-moved")
    code = f"""
install(PROJECT)
import dbx_patch_sitecustomize as shim, importlib
importlib.import_module(NAME)
install({str(second)!r})
del sys.modules[NAME]
print(ask(NAME))
print(any("installed again; this process keeps what it has" in line for line in shim.journal))
"""
    assert later.run(code) == [later.file(), "True"]
    assert later.run("print(ask(NAME))") == [later.file(second)]


def test_install_while_two_threads_import_is_honored_once(later: Later) -> None:
    code = """
import threading
install(PROJECT)
barrier = threading.Barrier(8)
seen = []
def work(name):
    barrier.wait()
    seen.append(ask(name))
threads = [threading.Thread(target=work, args=[NAME if i % 2 else "json.tool"]) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
import dbx_patch_sitecustomize as shim
ours = [finder for finder in shim.load("finders").finders if NAME in getattr(finder, "__module__", "")]
roots = [entry for entry in sys.path if entry.startswith(PROJECT)]
print(len(seen), len(set(seen)) == 2, len(ours) + len(roots), len(sys.path) == len(set(sys.path)))
"""
    assert later.run(code) == ["8 True 1 True"]


def test_folder_is_listed_only_when_it_has_changed(installed: Node) -> None:
    notebook = installed.make_notebook()
    code = """
import os, sys, time
shim = sys.modules["dbx_patch_sitecustomize"]
time.sleep(0.2)  # what was made just now is looked at twice
def ask(name):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
ask("no_such_module")
listed = []
real = shim.posix
shim.posix = type(sys.implementation)(**vars(real))
shim.posix.listdir = lambda folder: listed.append(os.fsdecode(folder)) or real.listdir(folder)
for i in range(100):
    ask(f"no_such_module_{i}")
print(listed)
layer = next(entry for entry in sys.path if entry.endswith("site-packages"))
open(layer + "/x.txt", "w").close()
time.sleep(0.2)
ask("no_such_module")
ask("no_such_module")
print(listed == [layer])
import email.mime.text, json
"""
    assert notebook.run(code, check=True).stdout.splitlines() == ["[]", "True"]


def test_import_of_a_submodule_asks_no_layer(installed: Node) -> None:
    code = """
import sys, email
shim = sys.modules["dbx_patch_sitecustomize"]
asked = []
real = shim.posix
shim.posix = type(sys.implementation)(**vars(real))
shim.posix.stat = lambda folder: asked.append(folder) or real.stat(folder)
import email.mime.text
before = len(asked)
__import__("email.mime.audio")
print(before >= 0, len([folder for folder in asked if "packages" in folder]) == before)
try:
    import no_such_module
except ModuleNotFoundError:
    print(sorted(set(asked)) == sorted(filter(shim.is_layer, sys.path)), len(asked) > 0)
"""
    assert installed.make_notebook().run(code, check=True).stdout.splitlines()[-1] == "True True"


def test_layer_that_changes_under_our_feet_costs_no_other_layer_its_installs(installed: Node) -> None:
    """As while pip replaces an install: the finder's module is gone when it is looked at."""
    notebook = installed.make_notebook()
    own = installed.layer(notebook.environment)
    own.joinpath("_editable_impl_gone.pth").write_text("import _editable_impl_gone\n")
    own.joinpath("_editable_impl_gone.py").symlink_to("nowhere.py")
    code = "import testx, dbx_patch_sitecustomize as shim; print(testx.__file__, *shim.journal, sep='\\n')"

    done = notebook.run(code, check=True)

    file, *journal = done.stdout.splitlines()
    assert file == f"{installed.project('testx')}/src/testx/__init__.py"
    assert any("_editable_impl_gone.pth" in line and "No such file" in line for line in journal)


def test_module_that_an_import_line_needs_as_well_is_imported_once(installed: Node) -> None:
    """The line is run while that very module is looked for: importlib would load it a second time."""
    notebook = installed.make_notebook()
    folder = installed.root / "databricks/python_shell"
    folder.joinpath("needed_by_both.py").write_text(
        "import builtins\nbuiltins.runs.append(__name__)\nclass Kind: pass\n"
    )
    layer = installed.layer(notebook.environment)
    code = f"""
import builtins
builtins.runs = []
open({str(layer)!r} + "/_editable_impl_needs.py", "w").write("import needed_by_both\\nkind = needed_by_both.Kind")
open({str(layer)!r} + "/_editable_impl_needs.pth", "w").write("import _editable_impl_needs")
import needed_by_both as first, sys, importlib
print(runs, first.Kind is sys.modules["_editable_impl_needs"].kind, sys.modules["needed_by_both"] is first)
print(type(first.__loader__).__name__, first.__spec__.loader is first.__loader__, first.__spec__._initializing)
print(importlib.reload(first) is first, len(runs))
"""
    done = notebook.run(code, check=True)

    assert done.stdout.splitlines() == ["['needed_by_both'] True True", "SourceFileLoader True False", "True 2"]


@pytest.mark.parametrize("module", ["slow_module", "sys_path_init"])
def test_half_imported_module_of_another_thread_is_no_deadlock(module: str, installed: Node) -> None:
    """A finder's import line may need a module that another thread is importing, and that waits for this one.

    That module may be a hook, which is patched as it comes to be.
    """
    notebook = installed.make_notebook()
    node = notebook.node
    library = node.root / "databricks/python_shell"
    library.joinpath(f"{module}.py").write_text(
        "import builtins\nbuiltins.entered.set()\nbuiltins.installed.wait(60)\n"
        "def patch_sys_path_with_developer_paths(): pass\n"
        "try:\n    import another_name_that_is_not_there\nexcept ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    layer = node.layer(notebook.environment)
    code = f"""
import builtins, threading, time
builtins.entered, builtins.installed = threading.Event(), threading.Event()
thread = threading.Thread(target=__import__, args=[{module!r}])
thread.start()
builtins.entered.wait(60)
open({str(layer)!r} + "/_editable_impl_dead.py", "w").write(
    "import builtins\\nbuiltins.installed.set()\\nimport {module}\\n")
open({str(layer)!r} + "/_editable_impl_dead.pth", "w").write("import _editable_impl_dead")
try:
    import no_such_module
except ModuleNotFoundError as error:
    print(error.name)
thread.join(60)
print(thread.is_alive())
"""
    done = notebook.run(code, check=True)

    library.joinpath(f"{module}.py").unlink()
    assert sorted(done.stdout.splitlines()) == ["False", "another_name_that_is_not_there", "no_such_module"]
