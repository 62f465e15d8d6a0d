"""Which editable installs the shim honors, in which order, and which lines of `.pth` files it ignores."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Notebook

pytestmark = [pytest.mark.core, pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])]

JOURNAL = "import json, dbx_patch_sitecustomize as shim; print(json.dumps(list(shim.journal)))"


@pytest.fixture
def write() -> Iterator[Write]:
    """A function that writes files and folders, which are removed after the test."""
    writer = Write()
    yield writer
    for path in reversed(writer.written):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


class Write:
    """Writes files, and remembers what it has created."""

    def __init__(self) -> None:
        self.written: list[Path] = []

    def __call__(self, path: Path, text: str, mode: int = 0o644) -> None:
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.exists():
                folder.mkdir()
                self.written.append(folder)
        path.write_text(text)
        path.chmod(mode)
        self.written.append(path)

    def link(self, path: Path, target: Path) -> None:
        path.symlink_to(target)
        self.written.append(path)


def find_module(notebook: Notebook, name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the file that a name is imported from; None if the import fails."""
    code = f"import importlib, json\ntry:\n    file = importlib.import_module({name!r}).__file__\n"
    return notebook.ask(code + "except ImportError:\n    file = None\nprint(json.dumps(file))", environ)  # type: ignore[no-any-return]


def list_events(notebook: Notebook, *kinds: str) -> list[Any]:
    """Return the kinds and subjects of the events that a fresh interpreter logs, only of some kinds."""
    return [event[:2] for event in notebook.ask(JOURNAL) if event[0] in kinds]


def test_interpreter_differs_only_by_the_root_directly_after_its_layer(notebook: Notebook) -> None:
    code = """\
import json, sys
path, modules, finders = sys.path[1:], sorted(sys.modules), list(sys.meta_path)
from dbx_patch.sitecustomize_template import template
print(json.dumps({
    "path": path,
    "modules": modules,
    "library started": template.started,
    "library left alone": [path, finders] == [sys.path[1:], sys.meta_path],
}))
"""
    with_us, without_us = notebook.ask(code), notebook.ask(code, OFF)
    root = str(notebook.node.project("testx") / "src")

    assert with_us["path"][with_us["path"].index(root) - 1] == notebook.layers[2]
    with_us["path"].remove(root)
    assert with_us == without_us
    assert "dbx_patch_sitecustomize" in without_us["modules"]  # if it is turned off, it is loaded and does nothing
    assert (without_us["library started"], without_us["library left alone"]) == (False, True)


def test_root_that_site_appended_moves_up_to_its_layer_if_it_is_an_editable_install_s(
    notebook: Notebook, write: Write
) -> None:
    """The `.pth` files of flit, poetry-core and uv_build can sort after the one that lists the layers.

    So can one that a person has written, and its folder can have another `numpy` than the layers.
    """
    editable, shared = (notebook.node.root / f"Workspace/z-{name}" for name in ("editable", "shared"))
    layer = notebook.node.layer(notebook.environment)
    for root in (editable, shared):
        write(root / "z_module.py", "")
        write(layer / f"{root.name}.pth", f"{root}\n")
    direct_url = {"dir_info": {"editable": True}, "url": editable.as_uri()}
    write(layer / "z_editable-1.0.dist-info/direct_url.json", json.dumps(direct_url))
    code = "import json, sys; print(json.dumps([e for e in sys.path if 'packages' in e or 'Workspace/z-' in e]))"

    layers = notebook.layers[:-1]
    assert notebook.ask(code, OFF) == [*layers, str(editable), str(shared)]
    assert notebook.ask(code) == [layers[0], str(editable), *layers[1:], str(shared)]


def test_editable_install_in_a_layer_on_pythonpath_replaces_no_module_of_python(
    notebook: Notebook, write: Write
) -> None:
    vendored = notebook.node.root / "vendored"
    modules = {"path": ("statistics", "path_module"), "finder": ("fractions", "finder_module")}
    for style, names in modules.items():
        for name in names:
            write(vendored / style / f"{name}.py", "")
    finder = f"""\
import sys
from importlib.util import spec_from_file_location
class Finder:
    def find_spec(name, *_):
        return spec_from_file_location(name, f"{vendored}/finder/{{name}}.py") if name in {modules["finder"]} else None
sys.meta_path.append(Finder)
"""
    layer = vendored / "site-packages"
    write(layer / "_editable_impl_path.pth", f"{vendored}/path\n")
    write(layer / "_editable_impl_finder.pth", "import _editable_impl_finder\n")
    write(layer / "_editable_impl_finder.py", finder)

    found = {name: find_module(notebook, name, {"PYTHONPATH": str(layer)}) for name in sum(modules.values(), ())}

    library = notebook.node.root / "usr/lib" / notebook.node.version
    assert found == {
        "statistics": f"{library}/statistics.py",
        "path_module": f"{vendored}/path/path_module.py",
        "fractions": f"{library}/fractions.py",
        "finder_module": f"{vendored}/finder/finder_module.py",
    }


def test_editable_install_wins_over_a_copy_in_a_lower_layer_and_loses_to_one_above(
    notebook: Notebook, write: Write
) -> None:
    """Both styles: a path, and setuptools' finder, which the shim has to ask before the path finder."""
    node = notebook.node
    flat = node.copy_project("flatx")
    (flat / "src/flatx").rename(flat / "flatx")
    (flat / "src").rmdir()
    node.install_editable(flat)
    editable = {"testx": f"{node.project('testx')}/src/testx/__init__.py", "flatx": f"{flat}/flatx/__init__.py"}
    finders = """\
import json, sys
kinds = [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]
print(json.dumps({"first": kinds[0], "setuptools'": kinds.count("_EditableFinder"),
    "before the path finder": kinds[kinds.index("PathFinder") - 1]}))
"""

    def find_both(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
        return {name: find_module(notebook, name, environ) for name in editable}

    def copy_both_into(layer: str) -> dict[str, str]:
        copies = {name: node.root / layer / name / "__init__.py" for name in editable}
        for copy in copies.values():
            write(copy, "")
        return {name: str(copy) for name, copy in copies.items()}

    try:
        assert find_both() == editable
        lower = copy_both_into(notebook.layers[3])
        assert find_both() == editable
        assert find_both(OFF) == lower
        higher = copy_both_into(notebook.layers[1])
        assert find_both() == higher
        # The shim's finders are functions; the second of them asks setuptools' class, which stays where it put itself.
        assert notebook.ask(finders) == {
            "first": "find_watched",
            "setuptools'": 1,
            "before the path finder": "find_in_turn",
        }
    finally:
        node.pip("uninstall", "--quiet", "--yes", "flatx")
        shutil.rmtree(flat)


def test_order_is_the_same_for_a_finder_in_the_layer_that_site_opened(notebook: Notebook, write: Write) -> None:
    """Without the shim, setuptools' finder answers after every layer."""
    node = notebook.node
    project = node.copy_project("own")
    (project / "src/own").rename(project / "own")
    (project / "src").rmdir()
    node.install_editable(project, python=notebook.python)
    lower, higher = node.root / notebook.layers[3] / "own.py", node.root / "databricks/driver/own.py"
    try:
        write(lower, "")
        assert find_module(notebook, "own") == f"{project}/own/__init__.py"
        assert find_module(notebook, "own", OFF) == str(lower)
        write(higher, "")
        assert find_module(notebook, "own") == str(higher)
    finally:
        node.pip("uninstall", "--quiet", "--yes", "own", python=notebook.python)
        shutil.rmtree(project)


@pytest.mark.oldest_and_newest
def test_only_lines_of_editable_installs_are_honored(notebook: Notebook, write: Write) -> None:
    node = notebook.node
    layer = node.layer(node.runtime)
    write(node.root / "outside/x.txt", "")
    for module in (layer / "a_start_up_file.py", node.root / notebook.layers[3] / "_editable_impl_elsewhere.py"):
        write(module, "print('it ran')\n")
    for name in ("coverage", "a1_coverage", "pytest-cov", "ddtrace", "ns-1.0-nspkg", "distutils-again", "zz_anything"):
        write(layer / f"{name}.pth", "import a_start_up_file; a_start_up_file.process_startup()\n")
    write(layer / "_editable_impl_hostile.pth", "import a_start_up_file\n")
    write(layer / "_editable_impl_elsewhere.pth", "import _editable_impl_elsewhere\n")
    write(layer / ".hidden.pth", f"{node.root}/outside\n")
    write(layer / "inside.pth", "some_package\n")
    write(layer / "layers.pth", f"{node.root}/outside\n{layer}\n")
    write(layer / "writable.pth", f"{node.root}/outside\n", mode=0o666)
    write(layer / "comments.pth", f"# {node.root}/outside\n\n   \n")
    code = """\
import json, sys, dbx_patch_sitecustomize as shim
print(json.dumps({
    "on the path": [entry for entry in sys.path if "outside" in entry or "some_" in entry],
    "setuptools' start-up file ran": "_distutils_hack" in sys.modules,
    "refused": [subject for kind, subject, _ in shim.journal if kind == "file refused"],
    "missing": [subject for kind, subject, _ in shim.journal if kind == "finder missing"],
}))
"""
    done = notebook.run(code, check=True)

    seen_as = notebook.layers[2]
    assert (layer / "distutils-precedence.pth").exists()
    assert json.loads(done.stdout) == {  # and nothing else was printed: no start-up file ran
        "on the path": [],
        "setuptools' start-up file ran": False,
        "refused": [f"{seen_as}/writable.pth"],
        "missing": [f"{seen_as}/_editable_impl_elsewhere.pth"],
    }
    assert done.stderr == ""


def test_start_files_are_read_as_python_reads_them_from_3_15_on(notebook: Notebook, write: Write) -> None:
    """They name a function (PEP 829). The import lines of a `.pth` file of the same name are for older Pythons."""
    layer = notebook.node.layer(notebook.node.runtime)
    finder = """\
import sys
from importlib.util import spec_from_file_location
class Finder:
    def __init__(self, place):
        self.place = place
    def find_spec(self, name, *_):
        if name == "found_by_it":
            return spec_from_file_location(name, __file__.replace("_editable_impl_new", self.place))
def from_pth():
    sys.meta_path.append(Finder("from_pth"))
def from_start():
    sys.meta_path.append(Finder("from_start"))
"""
    write(layer / "_editable_impl_new.py", finder)
    write(layer / "_editable_impl_new.pth", "import _editable_impl_new; _editable_impl_new.from_pth()\n")
    write(layer / "_editable_impl_new.start", "\ufeff# it says\n \n  _editable_impl_new:from_start  \nimport nothing\n")
    write(layer / "from_pth.py", "")
    write(layer / "from_start.py", "")
    write(layer / "a_start_up_file.py", "def run():\n    print('it ran')\nrun()\n")
    write(layer / "coverage.start", "a_start_up_file:run\n")
    write(layer / "_editable_impl_hostile.start", "_a; import a_start_up_file:run\n_a:b(); import a_start_up_file\n")
    write(layer / "writable.start", "_editable_impl_new:from_start\n", mode=0o666)
    reads_them = notebook.node.interpreter.minor >= 15  # until 3.14 is dropped: there, `.start` files are unknown
    name = "from_start" if reads_them else "from_pth"

    assert find_module(notebook, "found_by_it") == f"{notebook.layers[2]}/{name}.py"
    assert list_events(notebook, "finder honored", "file refused", "import line failed") == [
        *([["file refused", f"{notebook.layers[2]}/writable.start"]] if reads_them else []),
        ["finder honored", f"{notebook.layers[2]}/_editable_impl_new.{'start' if reads_them else 'pth'}"],
    ]


@pytest.mark.parametrize(
    ("line", "end"),
    [
        pytest.param("\ufeff{root}\n", "", id="signature"),
        pytest.param("{root}", "", id="no newline at the end"),
        pytest.param("# a comment\r\n{root}  \r\n", "", id="CRLF"),
        pytest.param("../../../../../outside\n", "", id="relative"),
        pytest.param("import nothing.of.ours\n{root}\n", "", id="after a line that is ignored"),
        pytest.param("{root}/gr\u00fc\u00dfe\n", "/gr\u00fc\u00dfe", id="beyond ASCII"),
    ],
)
@pytest.mark.oldest_and_newest
def test_paths_are_read_as_python_reads_them(notebook: Notebook, write: Write, line: str, end: str) -> None:
    root = notebook.node.root / "outside"
    write(notebook.node.layer(notebook.node.runtime) / "a.pth", line.format(root=root))
    code = "import json, sys; print(json.dumps([entry for entry in sys.path if 'outside' in entry]))"

    assert notebook.ask(code, {"PYTHONUTF8": "1"}) == [f"{root}{end}"]


def test_debug_prints_the_journal_on_stderr(notebook: Notebook) -> None:
    done = notebook.run(JOURNAL, {"DBX_PATCH_DEBUG": "1"}, check=True)

    journal = json.loads(done.stdout)
    assert done.stderr.splitlines() == [f"dbx-patch: {': '.join(filter(None, event))}" for event in journal]
    assert ["root honored", f"{notebook.node.project('testx')}/src"] in [event[:2] for event in journal]


def test_usercustomize_runs_as_before(notebook: Notebook, write: Write) -> None:
    """`site` looks for it after the shim has run. That must not search the roots, so the shim answers this once."""
    node = notebook.node
    code = "import importlib.util, json; print(json.dumps(importlib.util.find_spec('usercustomize')))"
    assert notebook.ask(code) is None  # the shim answers only while `site` looks for it

    user_site = node.root / ".local/lib" / node.version / "site-packages"
    write(user_site / "usercustomize.py", "print('usercustomize ran')\n")
    done = node.run([node.python, "-c", "import testx"])

    assert (done.stdout, done.stderr) == ("usercustomize ran\n", "")


def test_library_sees_a_new_module_of_an_editable_project(notebook: Notebook, write: Write, real_hook: Path) -> None:
    node = notebook.node
    provide_hook(node, real_hook)
    library = "import importlib\ndef load(name):\n    return importlib.import_module(name)\n"
    write(node.layer(node.runtime) / "c_library.py", library)
    new = node.project("testx") / "src/brand_new.py"
    code = f"""\
import c_library, importlib, json, os
c_library.load("testx")
open({str(new)!r}, "w").close()
try:
    importlib.invalidate_caches()
    print(json.dumps(c_library.load("brand_new").__file__))
finally:
    os.unlink({str(new)!r})
"""
    assert notebook.ask(place_hook(node, "pyspark.wsfs_import_hook", "path-hook") + code) == str(new)


@pytest.mark.oldest_and_newest
@pytest.mark.parametrize("case", ["layer", "link to a file", "link into a folder"])
def test_what_is_world_writable_is_refused_and_reported(notebook: Notebook, write: Write, case: str) -> None:
    node = notebook.node
    root = node.root / "outside"
    write(root / "open_to_all.py", "")
    layer = node.layer(node.runtime)
    pth = layer / "open.pth"
    if case == "layer":
        write(pth, f"{root}\n")
        refused = ["layer refused", notebook.layers[2]]
        layer.resolve().chmod(0o777)
    else:
        target = node.root / "open-to-all/target.pth"
        write(target, f"{root}\n", mode=0o666 if case == "link to a file" else 0o644)
        target.parent.chmod(0o777 if case == "link into a folder" else 0o755)
        write.link(pth, target)
        refused = ["file refused", f"{notebook.layers[2]}/open.pth"]
    try:
        assert find_module(notebook, "open_to_all") is None
        assert list_events(notebook, "layer refused", "file refused") == [refused]
    finally:
        layer.resolve().chmod(0o755)
    if case == "layer":
        assert find_module(notebook, "open_to_all") == f"{root}/open_to_all.py"


@pytest.mark.parametrize("raised", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_import_line_that_raises_is_in_the_journal_and_the_rest_is_honored(
    notebook: Notebook, write: Write, raised: str
) -> None:
    layer = notebook.node.layer(notebook.node.runtime)
    root = notebook.node.root / "rest"
    write(root / "the_rest.py", "")
    write(layer / "_editable_impl_raising.py", f"def f():\n    raise {raised}('of its own')\nf()\n")
    write(layer / "_editable_impl_raising.pth", f"import _editable_impl_raising\n{root}\n")

    done = notebook.run(f"import the_rest\n{JOURNAL}", check=True)

    (failed,) = [event for event in json.loads(done.stdout) if event[0] == "import line failed"]
    assert failed[1] == f"{notebook.layers[2]}/_editable_impl_raising.pth"
    assert '_editable_impl_raising.py", line 2, in f' in failed[2]  # the traceback, for people
    assert done.stderr == ""


def test_root_that_raises_is_absent_until_it_works_again(notebook: Notebook, write: Write) -> None:
    """On a workspace mount a folder can be there, and to list it fails with any error."""
    root = notebook.node.root / "raising"
    write(root / "on_a_mount.py", "")
    write(notebook.node.root / notebook.layers[3] / "further_down.py", "")
    write(notebook.node.layer(notebook.node.runtime) / "raising.pth", f"{root}\n")
    code = f"""
import errno, importlib, json, sys, dbx_patch_sitecustomize as shim
posix = sys.modules["posix"]
external = sys.modules["_frozen_importlib_external"]
class Failing:  # what importlib lists folders by
    fails = True
    def __getattr__(self, name):
        return getattr(posix, name)
    def listdir(self, path):
        if self.fails and str(path) == {str(root)!r}:
            raise OSError(errno.EIO, "Input/output error", path)
        return posix.listdir(path)
external._os = mount = Failing()
import further_down
try:
    import on_a_mount
    while_it_fails = on_a_mount.__file__
except ModuleNotFoundError as error:
    while_it_fails = str(error)
events = [event[:2] for event in shim.journal if event[0] == "root unavailable"]
mount.fails = False
importlib.invalidate_caches()
import on_a_mount
print(json.dumps({{"while it fails": while_it_fails, "events": events, "afterwards": on_a_mount.__file__}}))
"""
    done = notebook.run(code, check=True)

    assert json.loads(done.stdout) == {
        "while it fails": "No module named 'on_a_mount'",
        "events": [["root unavailable", str(root)]],
        "afterwards": f"{root}/on_a_mount.py",
    }
    assert done.stderr == ""


@pytest.mark.parametrize(
    "change",
    [
        "sys.meta_path = [f for f in sys.meta_path if 'Namespace' not in repr(f)]",
        "sys.meta_path = []; sys.meta_path = [importlib.machinery.BuiltinImporter, importlib.machinery.PathFinder]",
        "sys.path_hooks.clear(); sys.path_importer_cache.clear()",
        "sys.path = [*sys.path, object(), 7, b'/bytes', pathlib.Path('/'), '__editable__.x.__path_hook__', '']",
        "sys.meta_path.insert(0, type('Old', (), {'find_module': lambda *_: None}))",
        "sys.modules.pop('dbx_patch_sitecustomize')",
        "os.chdir('/'); sys.path.clear()",
    ],
)
def test_python_works_as_without_us_whatever_users_do_to_its_lists(notebook: Notebook, change: str) -> None:
    """The workaround that dlt documents, for example, filters `sys.meta_path` by `repr`."""
    code = f"""
import importlib.machinery, os, pathlib, sys
{change}
for name in ("no_such_module", "another.one", "dbruntime.pythonPathHook", "sys_path_init"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
importlib.invalidate_caches()
print("done")
"""
    with_us, without_us = notebook.run(code), notebook.run(code, OFF)

    # Python 3.13 itself can't invalidate its caches when it finds no module.
    assert [line.partition(" ")[0] for line in with_us.stderr.splitlines()[-1:]] in ([], ["ModuleNotFoundError:"])
    assert (with_us.stdout, with_us.stderr) == (without_us.stdout, without_us.stderr)


def test_import_fails_as_without_us_where_python_s_own_path_hook_is_gone(notebook: Notebook) -> None:
    code = """
import sys
sys.path_hooks[:] = [hook for hook in sys.path_hooks if "FileFinder" not in getattr(hook, "__qualname__", "")]
sys.path_importer_cache.clear()
import nope
"""
    assert notebook.run(code).stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nope'"


@pytest.mark.oldest_and_newest
def test_entry_that_is_not_a_path_costs_no_layer_its_installs(notebook: Notebook, write: Write) -> None:
    late = notebook.node.root / "late/site-packages"
    write(notebook.node.root / "outside/late_module.py", "")
    write(late / "late.pth", f"{notebook.node.root}/outside\n")
    code = f"""
import json, sys
sys.path += [{str(late)!r}, "/x\\0/site-packages"]
try:
    import nope
except (ImportError, ValueError):  # as without us
    pass
del sys.path[-1]
import late_module
print(json.dumps(late_module.__file__))
"""
    assert notebook.ask(code) == f"{notebook.node.root}/outside/late_module.py"


@pytest.mark.oldest_and_newest
def test_root_of_the_file_system_takes_nothing_else_off_the_path(notebook: Notebook, write: Write) -> None:
    write(notebook.node.layer(notebook.node.runtime) / "slash.pth", "/\n")
    code = "import json, sys; sys.path.append(7); import testx; print(json.dumps(sys.path))"

    path = notebook.ask(code)

    assert {"/", "", 7}.issubset(path)
