"""Which installs are honored, in which order, and what stays unread."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.node import OFF
from tests.lab.trace import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

WHERE = "import json, sys\ntry:\n    import {name} as m\n    print(m.__file__)\nexcept ImportError:\n    print('no')"


@pytest.fixture
def notebook(installed: Node) -> Notebook:
    return installed.make_notebook()


@pytest.fixture
def flat(installed: Node) -> Iterator[Path]:
    """A project of flat layout, installed editable in the runtime's layer: setuptools gives it a finder."""
    folder = installed.copy_project("flatx")
    (folder / "src/flatx").rename(folder / "flatx")
    (folder / "src").rmdir()
    installed.install_editable(folder)
    yield folder
    installed.pip("uninstall", "--quiet", "--yes", "flatx")
    shutil.rmtree(folder)


@pytest.fixture
def write() -> Iterator[Write]:
    """A function that writes files which are gone after the test."""
    writer = Write()
    yield writer
    for path in reversed(writer.written):
        path.rmdir() if path.is_dir() else path.unlink()


class Write:
    """Writes files and remembers them."""

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


def where(notebook: Notebook, name: str, environ: Mapping[str, str] | None = None) -> str:
    """Tell which file a name is imported from."""
    return notebook.run(WHERE.format(name=name), environ, check=True).stdout.strip()


def test_root_stands_right_behind_its_layer_and_nothing_else_moves(notebook: Notebook) -> None:
    code = "import json, sys; print(json.dumps(sys.path[1:]))"
    with_us = json.loads(notebook.run(code, check=True).stdout)
    without_us = json.loads(notebook.run(code, OFF, check=True).stdout)
    root = str(notebook.node.project("testx") / "src")

    assert with_us[with_us.index(root) - 1] == notebook.layers[2]
    with_us.remove(root)
    assert with_us == without_us


def test_root_that_site_appended_below_other_layers_moves_up_to_its_own(notebook: Notebook, write: Write) -> None:
    """As flit, poetry-core and uv_build name their files, one can sort behind the file that lists the layers."""
    root = notebook.node.root / "Workspace/z-project"
    write(root / "z_module.py", "")
    write(notebook.node.layer(notebook.environment) / "z_project.pth", f"{root}\n")
    code = "import sys; print([entry for entry in sys.path if 'packages' in entry or 'z-project' in entry])"

    layers = notebook.layers[:-1]
    assert notebook.run(code, OFF).stdout.strip() == str([*layers, str(root)])
    assert notebook.run(code).stdout.strip() == str([layers[0], str(root), *layers[1:]])


@pytest.mark.parametrize("style", ["path", "finder"])
def test_editable_install_wins_over_a_copy_in_a_lower_layer_and_loses_to_one_above(
    notebook: Notebook, write: Write, flat: Path, style: str
) -> None:
    name = "testx" if style == "path" else "flatx"
    mine = f"{notebook.node.project('testx')}/src/testx/__init__.py" if style == "path" else f"{flat}/flatx/__init__.py"
    lower, higher = (
        notebook.node.root / layer / name / "__init__.py" for layer in (notebook.layers[3], notebook.layers[1])
    )

    assert where(notebook, name) == mine
    write(lower, "")
    assert where(notebook, name) == mine
    assert where(notebook, name, OFF) == str(lower)
    write(higher, "")
    assert where(notebook, name) == str(higher)


def test_only_lines_of_editable_installs_are_honored(notebook: Notebook, write: Write) -> None:
    layer = notebook.node.layer(notebook.node.runtime)
    write(notebook.node.root / "outside/x.txt", "")
    for module in (
        layer / "a_start_up_file.py",
        notebook.node.root / notebook.layers[3] / "_editable_impl_elsewhere.py",
    ):
        write(module, "print('it ran')\n")
    for name in ("coverage", "a1_coverage", "pytest-cov", "ddtrace", "ns-1.0-nspkg", "distutils-again", "zz_anything"):
        write(layer / f"{name}.pth", "import a_start_up_file; a_start_up_file.process_startup()\n")
    write(layer / "_editable_impl_hostile.pth", "import a_start_up_file\n")
    write(layer / "_editable_impl_elsewhere.pth", "import _editable_impl_elsewhere\n")
    write(layer / ".hidden.pth", f"{notebook.node.root}/outside\n")
    write(layer / "inside.pth", "some_package\n")
    write(layer / "layers.pth", f"{notebook.node.root}/outside\n{layer}\n")
    write(layer / "writable.pth", f"{notebook.node.root}/outside\n", mode=0o666)
    write(layer / "comments.pth", f"# {notebook.node.root}/outside\n\n   \n")
    code = (
        "import sys; print([e for e in sys.path if 'outside' in e or 'some_' in e], '_distutils_hack' in sys.modules)"
    )

    done = notebook.run(code, check=True)

    assert (layer / "distutils-precedence.pth").exists()
    assert (done.stdout, done.stderr) == ("[] False\n", "")
    journal = "import dbx_patch_sitecustomize as shim; print([line for line in shim.journal if 'writable' in line])"
    assert "refused: everybody may write it" in notebook.run(journal).stdout


@pytest.mark.parametrize(
    ("line", "end"),
    [
        pytest.param("\ufeff{root}\n", "", id="signature"),
        pytest.param("{root}", "", id="no newline at the end"),
        pytest.param("# a comment\r\n{root}  \r\n", "", id="CRLF"),
        pytest.param("../../../../../outside\n", "", id="relative"),
        pytest.param("import nothing.of.ours\n{root}\n", "", id="behind a line that stays unread"),
        pytest.param("{root}/gr\u00fc\u00dfe\n", "/gr\u00fc\u00dfe", id="beyond ASCII"),
    ],
)
def test_paths_are_read_as_python_reads_them(notebook: Notebook, write: Write, line: str, end: str) -> None:
    root = notebook.node.root / "outside"
    write(notebook.node.layer(notebook.node.runtime) / "a.pth", line.format(root=root))

    done = notebook.run(
        "import sys; print(ascii([e for e in sys.path if 'outside' in e]))", {"PYTHONUTF8": "1"}, check=True
    )

    assert done.stdout.strip() == ascii([f"{root}{end}"])


def test_import_loads_no_module_that_site_has_not_loaded(notebook: Notebook) -> None:
    code = "import json, sys; print(' '.join(sys.modules))"

    with_us = set(notebook.run(code).stdout.split())
    without_us = set(notebook.run(code, OFF).stdout.split())

    assert with_us == without_us
    assert "dbx_patch_sitecustomize" in without_us  # turned off, it is loaded, and does nothing


def test_template_is_a_module_that_does_not_start_when_it_is_imported(notebook: Notebook) -> None:
    code = """\
import sys
before = list(sys.meta_path), list(sys.path)
from dbx_patch.sitecustomize_template import template
print(before == (list(sys.meta_path), list(sys.path)), sitecustomize.started, sitecustomize.journal)
"""
    done = notebook.run(code, OFF, check=True)

    assert done.stdout == "True False []\n"


def test_debug_says_on_stderr_what_the_journal_holds(notebook: Notebook) -> None:
    code = "import dbx_patch_sitecustomize as shim; print('\\n'.join(shim.journal))"

    done = notebook.run(code, {"DBX_PATCH_DEBUG": "1"})

    assert [f"dbx-patch: {line}" for line in done.stdout.splitlines()] == done.stderr.splitlines()
    assert f"root {notebook.node.project('testx')}/src honored, behind {notebook.layers[2]}" in done.stdout


def test_journal_is_bounded(notebook: Notebook) -> None:
    code = "import dbx_patch_sitecustomize as shim\nfor i in range(10_000): shim.say(str(i))\nprint(len(shim.journal))"

    assert notebook.run(code).stdout.strip() == "500"


def test_path_is_changed_in_place(notebook: Notebook) -> None:
    """Spark Connect binds the list early."""
    code = """\
import sys, dbx_patch_sitecustomize as shim
roots = list(shim.load("editables").roots)
bound = sys.path
sys.path[:] = [entry for entry in sys.path if entry not in roots]
before = list(bound)
shim.load("editables").place_roots(roots)
print(bound is sys.path, set(bound) - set(before) == set(roots) != set())
"""
    assert notebook.run(code, check=True).stdout == "True True\n"


def test_usercustomize_runs_as_before(installed: Node, write: Write) -> None:
    """Whose look-up must not ask the roots: `site` makes it after ours, at start."""
    user_site = installed.root / ".local/lib" / installed.version / "site-packages"
    write(user_site / "usercustomize.py", "print('usercustomize ran')\n")

    done = installed.run([installed.python, "-c", "import testx"])

    assert (done.stdout, done.stderr) == ("usercustomize ran\n", "")


@pytest.mark.parametrize("placement", ["cache", "path-hook"])
def test_library_asks_the_mount_no_more_for_names_that_no_root_has(
    notebook: Notebook, write: Write, real_hook: Path, placement: str
) -> None:
    """The hook spares the mount what libraries ask for in vain; one listing of a root is what we add."""
    node = notebook.node
    provide_hook(node, real_hook)
    library = """\
def load(names):
    for name in names:
        try:
            __import__(name)
        except ModuleNotFoundError:
            pass
"""
    write(node.layer(node.runtime) / "b_library.py", library)
    code = place_hook(node, "pyspark.wsfs_import_hook", placement) + "import b_library; b_library.load({names!r})"

    def count(names: list[str]) -> int:
        command = [notebook.python, "-c", code.format(names=names)]
        return trace(node, node.workspace, command, notebook.environ)[1]

    assert count([f"no_such_module_{i}" for i in range(1000)]) - count(["no_such_module_0"]) < 5


def test_library_sees_a_new_module_of_an_editable_project(notebook: Notebook, write: Write, real_hook: Path) -> None:
    node = notebook.node
    provide_hook(node, real_hook)
    library = "import importlib\ndef load(name):\n    return importlib.import_module(name)\n"
    write(node.layer(node.runtime) / "c_library.py", library)
    new = node.project("testx") / "src/brand_new.py"
    code = (
        place_hook(node, "pyspark.wsfs_import_hook", "path-hook")
        + f"""\
import c_library, importlib
c_library.load("testx")
open({str(new)!r}, "w").close()
try:
    importlib.invalidate_caches()
    print(c_library.load("brand_new").__file__)
finally:
    import os
    os.unlink({str(new)!r})
"""
    )

    assert notebook.run(code, check=True).stdout.strip() == str(new)


def test_order_is_the_same_for_an_install_in_the_layer_that_site_opened(notebook: Notebook, write: Write) -> None:
    """Finder style: Python itself has a class of setuptools' answer after every layer."""
    node = notebook.node
    project = node.copy_project("own")
    (project / "src/own").rename(project / "own")
    (project / "src").rmdir()
    node.install_editable(project, python=notebook.python)
    try:
        lower, higher = node.root / notebook.layers[3] / "own.py", node.root / "databricks/driver/own.py"
        write(lower, "")
        assert where(notebook, "own") == f"{project}/own/__init__.py"
        assert where(notebook, "own", OFF) == str(lower)
        write(higher, "")
        assert where(notebook, "own") == str(higher)
    finally:
        shutil.rmtree(project)


@pytest.mark.parametrize("case", ["layer", "link to a file", "link into a folder"])
def test_what_everybody_may_write_is_refused_and_said(notebook: Notebook, write: Write, case: str) -> None:
    node = notebook.node
    root = node.root / "outside"
    write(root / "open_to_all.py", "")
    layer = node.layer(node.runtime)
    pth = layer / "open.pth"
    if case == "layer":
        write(pth, f"{root}\n")
        layer.resolve().chmod(0o777)
    else:
        target = node.root / "open-to-all/target.pth"
        write(target, f"{root}\n", mode=0o666 if case == "link to a file" else 0o644)
        target.parent.chmod(0o777 if case == "link into a folder" else 0o755)
        pth.symlink_to(target)
    code = "import dbx_patch_sitecustomize as shim; print([line for line in shim.journal if 'refused' in line])"
    try:
        assert where(notebook, "open_to_all") == "no"
        assert "refused: everybody may write" in notebook.run(code).stdout
    finally:
        layer.resolve().chmod(0o755)
        if pth.is_symlink():
            pth.unlink()
    if case == "layer":
        assert where(notebook, "open_to_all") == f"{root}/open_to_all.py"


@pytest.mark.parametrize(
    "raised", ["ValueError('of its own')", "SystemExit('of its own')", "KeyboardInterrupt('of its own')"]
)
def test_import_line_that_raises_is_in_the_journal_and_the_rest_is_honored(
    notebook: Notebook, write: Write, raised: str
) -> None:
    layer = notebook.node.layer(notebook.node.runtime)
    root = notebook.node.root / "rest"
    write(root / "the_rest.py", "")
    write(layer / "_editable_impl_raising.py", f"def f():\n    raise {raised}\nf()\n")
    write(layer / "_editable_impl_raising.pth", f"import _editable_impl_raising\n{root}\n")
    code = "import the_rest, dbx_patch_sitecustomize as shim; print(*shim.journal, sep='\\n')"

    done = notebook.run(code, check=True)

    assert done.stderr == ""
    assert '_editable_impl_raising.py", line 2, in f' in done.stdout
    assert "of its own" in done.stdout


def test_root_that_raises_is_absent_until_it_does_not(notebook: Notebook, write: Write) -> None:
    """As a workspace mount may: its folder is there, and to list it fails with an error of no particular kind."""
    root = notebook.node.root / "raising"
    write(root / "on_a_mount.py", "")
    write(notebook.node.layer(notebook.node.runtime) / "raising.pth", f"{root}\n")
    code = f"""
import errno, importlib, sys, dbx_patch_sitecustomize as shim
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
lower = {notebook.layers[3]!r} + "/further_down.py"
open(lower, "w").close()
import further_down
try:
    import on_a_mount
except ModuleNotFoundError as error:
    print(error)
print([line for line in shim.journal if "Input/output error" in line] != [])
mount.fails = False
importlib.invalidate_caches()
import on_a_mount
print(on_a_mount.__file__)
"""
    try:
        done = notebook.run(code, check=True)
    finally:
        (notebook.node.root / notebook.layers[3] / "further_down.py").unlink(missing_ok=True)

    assert done.stdout.splitlines() == ["No module named 'on_a_mount'", "True", f"{root}/on_a_mount.py"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    "doing",
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
def test_what_users_do_to_python_s_lists_is_survived(notebook: Notebook, doing: str) -> None:
    """The documented cure of dlt's, for one, filters `sys.meta_path` by `repr`."""
    code = f"""
import importlib.machinery, os, pathlib, sys
{doing}
for name in ("no_such_module", "another.one", "dbruntime.pythonPathHook", "sys_path_init"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
importlib.invalidate_caches()
print("survived")
"""
    with_us, without_us = notebook.run(code), notebook.run(code, OFF)

    # Python 3.13 itself can't invalidate its caches where it finds no module.
    assert [line.partition(" ")[0] for line in with_us.stderr.splitlines()[-1:]] in ([], ["ModuleNotFoundError:"])
    assert (with_us.stdout, with_us.stderr) == (without_us.stdout, without_us.stderr)


def test_path_hooks_without_python_s_own_for_folders_fail_as_without_us(notebook: Notebook) -> None:
    code = """
import sys
sys.path_hooks[:] = [hook for hook in sys.path_hooks if "FileFinder" not in getattr(hook, "__qualname__", "")]
sys.path_importer_cache.clear()
import nope
"""
    assert notebook.run(code).stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nope'"


def test_path_entry_that_is_no_path_costs_no_layer_its_installs(notebook: Notebook, write: Write) -> None:
    late = notebook.node.root / "late/site-packages"
    write(notebook.node.root / "outside/late_module.py", "")
    write(late / "late.pth", f"{notebook.node.root}/outside\n")
    code = f"""
import sys
sys.path += [{str(late)!r}, "/x\\0/site-packages"]
try:
    import nope
except (ImportError, ValueError):  # as without us
    pass
del sys.path[-1]
import late_module
print(late_module.__file__)
"""
    assert notebook.run(code, check=True).stdout.strip() == f"{notebook.node.root}/outside/late_module.py"


def test_root_of_the_file_system_takes_nothing_else_off_the_path(notebook: Notebook, write: Write) -> None:
    write(notebook.node.layer(notebook.node.runtime) / "slash.pth", "/\n")
    code = "import sys; sys.path.append(7); import testx; print('/' in sys.path, '' in sys.path, 7 in sys.path)"

    assert notebook.run(code, check=True).stdout == "True True True\n"


def test_usercustomize_is_watched_for_only_while_site_looks_for_it(notebook: Notebook) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('usercustomize'))"

    assert notebook.run(code, check=True).stdout == "None\n"


def test_finder_that_is_a_class_keeps_its_place_among_others(notebook: Notebook, flat: Path) -> None:
    code = """
import sys
kinds = [finder.__name__ if isinstance(finder, type) else type(finder).__name__ for finder in sys.meta_path]
print(kinds.index("SimpleNamespace"), kinds.count("_EditableFinder"), kinds.index("PathFinder") - 1 in
    [at for at, kind in enumerate(kinds) if kind == "SimpleNamespace"])
import flatx
print(flatx.__file__)
"""
    assert notebook.run(code, check=True).stdout.splitlines() == ["0 1 True", f"{flat}/flatx/__init__.py"]
