"""Which editable installs the shim honors, in which order, and which lines of `.pth` files it ignores."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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

    def install(self, layer: Path, pth: str, text: str) -> None:
        """Write the files of an editable install by a backend that nobody knows: only the metadata tells what it is."""
        self(layer / f"{pth}.pth", text)
        self(layer / f"{pth}-1.0.dist-info/direct_url.json", '{"dir_info": {"editable": true}, "url": "file:///"}')
        self(layer / f"{pth}-1.0.dist-info/RECORD", f"{pth}.pth,,\n{pth}-1.0.dist-info/RECORD,,\n")

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
    write.install(layer, editable.name, f"{editable}\n")
    write(layer / f"{shared.name}.pth", f"{shared}\n")
    code = "import json, sys; print(json.dumps([e for e in sys.path if 'packages' in e or 'Workspace/z-' in e]))"

    layers = notebook.layers[:-1]
    assert notebook.ask(code, OFF) == [*layers, str(editable), str(shared)]
    assert notebook.ask(code) == [layers[0], str(editable), *layers[1:], str(shared)]


def test_editable_install_in_a_layer_before_python_s_own_modules_comes_before_them_as_well(
    notebook: Notebook, write: Write
) -> None:
    """A layer on PYTHONPATH is there. Its root stands directly after it, and its finder has its turn there."""
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

    assert found == {name: f"{vendored}/{style}/{name}.py" for style, names in modules.items() for name in names}


def test_editable_install_wins_over_a_copy_in_a_lower_layer_and_loses_to_one_above(
    notebook: Notebook, write: Write
) -> None:
    """Both styles: a path, and setuptools' finder, which the shim has to ask before lower layers are searched."""
    node = notebook.node
    flat = node.copy_project("flatx")
    (flat / "src/flatx").rename(flat / "flatx")
    (flat / "src").rmdir()
    node.install_editable(flat)
    editable = {"testx": f"{node.project('testx')}/src/testx/__init__.py", "flatx": f"{flat}/flatx/__init__.py"}
    finders = """\
import json, sys
print(json.dumps([getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path]))
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
        # The shim's finders are functions. Setuptools' class stays where it has put itself.
        kinds = notebook.ask(finders)
        assert [kinds[0], kinds[-1]] == ["find_watched", "find_late"]
        assert kinds[kinds.index("PathFinder") + 1 : -1].count("_EditableFinder") == kinds.count("_EditableFinder") == 1
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
    """What is editable is what RECORD and `direct_url.json` say (:pep:`610`), and nothing else that is in a layer."""
    node = notebook.node
    layer = node.layer(node.runtime)
    write(node.root / "outside/x.txt", "")
    for module in (layer / "a_start_up_file.py", node.root / notebook.layers[3] / "_editable_impl_elsewhere.py"):
        write(module, "print('it ran')\n")
    for name in ("coverage", "a1_coverage", "pytest-cov", "ddtrace", "ns-1.0-nspkg", "distutils-again", "zz_anything"):
        write(layer / f"{name}.pth", "import a_start_up_file; a_start_up_file.process_startup()\n")
    write.install(layer, "editable", f"{node.root}/outside/editable\n")
    write.install(layer, "wheel", f"{node.root}/outside/wheel\n")
    (layer / "wheel-1.0.dist-info/direct_url.json").write_text('{"archive_info": {}, "url": "file:///"}')
    write.install(layer, "elsewhere", f"{node.root}/outside/elsewhere\nimport a_start_up_file\n")
    (layer / "elsewhere-1.0.dist-info/RECORD").write_text("below/elsewhere.pth,,\nelsewhere.pth.bak,,\n")
    write(layer / "by_hand.pth", f"{node.root}/outside\nimport a_start_up_file\n")
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
        "on the path": [f"{node.root}/outside/editable"],
        "setuptools' start-up file ran": False,
        "refused": [f"{seen_as}/writable.pth"],
        "missing": [f"{seen_as}/_editable_impl_elsewhere.pth"],
    }
    assert done.stderr == ""


def test_backend_that_nobody_knows_is_editable_by_its_metadata_alone(notebook: Notebook, write: Write) -> None:
    layer = notebook.node.layer(notebook.node.runtime)
    root, mapped = (notebook.node.root / f"unheard-of/{name}" for name in ("root", "mapped"))
    for file in (root / "by_path.py", mapped / "by_finder.py"):
        write(file, "")
    finder = f"""\
import sys
from importlib.machinery import PathFinder
class Finder:
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(mapped)!r}]) if name == "by_finder" else None
def start():
    sys.meta_path.append(Finder)
"""
    write(layer / "zig_something.py", finder)
    write.install(layer, "zig_path", f"{root}\n")
    write.install(layer, "zig_hook", "import zig_something; zig_something.start()\n")

    def find_both() -> list[str | None]:
        return [find_module(notebook, name) for name in ("by_path", "by_finder")]

    assert find_both() == [f"{root}/by_path.py", f"{mapped}/by_finder.py"]
    for name in ("zig_path", "zig_hook"):
        (layer / f"{name}-1.0.dist-info/direct_url.json").write_text('{"dir_info": {}, "url": "file:///"}')
    assert find_both() == [None, None]


def test_lines_of_setup_py_develop_count_but_for_those_that_name_no_root(notebook: Notebook, write: Write) -> None:
    """It writes the layer of a dependency, and eggs, into its file, too (https://github.com/pypa/setuptools/issues/539).

    Before setuptools 31 it also wrote two lines that move what the file has put on the path.
    """
    layer = notebook.node.layer(notebook.node.runtime)
    roots = [f"{notebook.node.root}/developed/{name}" for name in ("one", "two")]
    for root in roots:
        write(Path(root, f"{Path(root).name}_developed.py"), "")
    write(layer / "some.egg", "")
    dependency = notebook.layers[3]
    first = "import sys; sys.__plen = len(sys.path)"
    last = (
        "import sys; new=sys.path[sys.__plen:]; del sys.path[sys.__plen:]; p=getattr(sys,'__egginsert',0); "
        "sys.path[p:p]=new; sys.__egginsert = p+len(new)"
    )
    code = "import json, sys; print(json.dumps(sys.path))"
    before = notebook.ask(code)
    at = before.index(notebook.layers[2]) + 1
    write(layer / "easy-install.pth", "\n".join([first, roots[0], dependency, "./some.egg", roots[1], last]))

    after = notebook.ask(code)

    assert [entry for entry in after if entry not in roots] == before
    assert [entry for entry in after if entry not in before] == roots
    assert set(after[at : at + 3]) >= set(roots)  # `testx` is in this layer as well
    assert list_events(notebook, "finder missing", "file refused", "import line failed") == []


def test_archive_on_a_line_is_imported_as_without_us(notebook: Notebook, write: Write) -> None:
    """Whatever it is named: a start does not look whether a line names a file."""
    node = notebook.node
    archives = [node.root / f"archives/{name}" for name in ("py4j-src.zip", "an_application")]
    for at, archive in enumerate(archives):
        write(archive, "")
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(f"in_archive_{at}.py", "")
    write(node.layer(node.runtime) / "easy-install.pth", "".join(f"{archive}\n" for archive in archives))
    code = "import in_archive_0, in_archive_1, json; print(json.dumps([in_archive_0.__file__, in_archive_1.__file__]))"

    for environ in (OFF, {}):
        done = node.run([node.python, "-c", code], environ)
        assert json.loads(done.stdout) == [f"{archive}/in_archive_{at}.py" for at, archive in enumerate(archives)]


SHARED = {
    "both_have_init": ({"__init__.py": "", "of_wheel.py": ""}, {"__init__.py": "", "of_editable.py": ""}),
    "subpackages": (
        {"__init__.py": "", "of_wheel/__init__.py": ""},
        {"__init__.py": "", "of_editable/__init__.py": ""},
    ),
    "wheel_s": ({"__init__.py": "", "of_wheel.py": ""}, {"of_editable/__init__.py": ""}),
    "namespace": ({"of_wheel/__init__.py": ""}, {"of_editable/__init__.py": ""}),
}
"""Top-level packages that a wheel and an editable install share: the files of both."""


def test_package_that_a_wheel_and_a_finder_share_keeps_the_modules_of_both(notebook: Notebook, write: Write) -> None:
    """The wheel's package is found, and setuptools' finder is asked last for what that does not have.

    So it is without us where `site` opens the layer (https://github.com/pypa/pip/issues/11587), and in a notebook, too.
    """
    node = notebook.node
    project = node.project("sharing")
    project.mkdir()
    for name, (of_wheel, of_editable) in SHARED.items():
        for file, text in of_wheel.items():
            write(node.layer(node.runtime) / name / file, text)
        for file, text in of_editable.items():
            project.joinpath(name, file).parent.mkdir(parents=True, exist_ok=True)
            project.joinpath(name, file).write_text(text)
    packages = [".".join(file.parent.relative_to(project).parts) for file in project.rglob("*.py")]
    build = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    metadata = f'[project]\nname = "sharing"\nversion = "1"\n[tool.setuptools]\npackages = {sorted({*packages})}\n'
    project.joinpath("pyproject.toml").write_text(build + metadata)
    code = f"""
import importlib, json
found = {{}}
for name in {[f"{name}.{module}" for name in SHARED for module in ("of_wheel", "of_editable")]}:
    try:
        found[name] = importlib.import_module(name).__file__
    except ImportError:
        found[name] = None
print(json.dumps(found))
"""
    try:
        node.install_editable(project)
        without_us, with_us = (json.loads(node.run([node.python, "-c", code], environ).stdout) for environ in (OFF, {}))
        in_a_notebook = notebook.ask(code)
    finally:
        node.pip("uninstall", "--quiet", "--yes", "sharing")
        shutil.rmtree(project)

    assert with_us == without_us
    assert None not in with_us.values()
    assert {name: bool(file) for name, file in in_a_notebook.items()} == dict.fromkeys(with_us, True)


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
    layer = notebook.node.layer(notebook.node.runtime)
    code = "import json, sys; print(json.dumps([entry for entry in sys.path if 'outside' in entry]))"

    write(layer / "_editable_impl_a.pth", line.format(root=root))
    assert notebook.ask(code, {"PYTHONUTF8": "1"}) == [f"{root}{end}"]

    layer.joinpath("_editable_impl_a.pth").write_text("")
    write.install(layer, "a", line.format(root=root))  # a backend whose files' names don't show it
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
    pth = layer / "_editable_impl_open.pth"
    if case == "layer":
        write(pth, f"{root}\n")
        refused = ["layer refused", notebook.layers[2]]
        layer.resolve().chmod(0o777)
    else:
        target = node.root / "open-to-all/target.pth"
        write(target, f"{root}\n", mode=0o666 if case == "link to a file" else 0o644)
        target.parent.chmod(0o777 if case == "link into a folder" else 0o755)
        write.link(pth, target)
        refused = ["file refused", f"{notebook.layers[2]}/{pth.name}"]
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
    write(notebook.node.layer(notebook.node.runtime) / "_editable_impl_raising.pth", f"{root}\n")
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
    write(late / "_editable_impl_late.pth", f"{notebook.node.root}/outside\n")
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
    write(notebook.node.layer(notebook.node.runtime) / "_editable_impl_slash.pth", "/\n")
    code = "import json, sys; sys.path.append(7); import testx; print(json.dumps(sys.path))"

    path = notebook.ask(code)

    assert {"/", "", 7}.issubset(path)
