"""Tests what you do in a notebook, in real kernels behind Databricks' published import hook."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dbx_patch import __version__
from dbx_patch._html import FAILED, PASSED
from tests.lab.disks import disk_in_memory
from tests.lab.kernel import Kernel, Output, as_user, install_ipykernel, provide_real_hook
from tests.lab.missing import need_root
from tests.lab.node import Node
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = [
    pytest.mark.pythons("3.12"),
    pytest.mark.real("notebook kernels"),
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
]

NOT_FOUND = "ModuleNotFoundError: No module named 'testx'"
PIP = "%pip --disable-pip-version-check install --quiet --no-index --no-deps --no-build-isolation"
UNINSTALL = "import dbx_patch; print(bool(dbx_patch.uninstall_sitecustomize().changed))"
NOBODY = 65534
"""The id of the user that owns nothing."""
MADE_BY_KERNELS = ("local_disk0/.ephemeral_nfs/envs", "kernels", "ipython", "databricks/python_shell", "uv-cache")
"""Folders that running a kernel makes on a node."""


@pytest.fixture(scope="module")
def plain(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    real_hook: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """A node whose notebooks have kernels, with dbx-patch as a package; the shim is not installed."""
    folder = tmp_path_factory.mktemp("kernels")
    node = Node(folder.resolve() / "node", interpreter, wheelhouse, sitecustomize=sitecustomize).build()
    (folder / "wheels").mkdir()
    install_ipykernel(node, folder / "wheels")
    provide_real_hook(node, real_hook)
    node.install_dbx_patch()
    yield node
    shutil.rmtree(node.root)


@pytest.fixture(scope="class")
def patched(plain: Node) -> Iterator[Node]:
    """The same node while the shim is installed."""
    plain.install_shim()
    yield plain
    done = plain.dbx_patch("dbx_patch.uninstall")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="class")
def kernel(patched: Node) -> Iterator[Kernel]:
    """A kernel for tests that do not disturb each other: each has a project with a name of its own."""
    with Kernel(patched.make_notebook()) as kernel:
        yield kernel


@pytest.fixture(autouse=True)
def no_projects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove the projects of a test, and their editable installs in the node's layers."""
    if "plain" not in request.fixturenames:
        yield
        return
    node: Node = request.getfixturevalue("patched" if "patched" in request.fixturenames else "plain")
    layers = [node.layer(node.runtime), node.layer(node.cluster_libraries)]
    before = {path for layer in layers for path in layer.iterdir()}
    yield
    shutil.rmtree(node.workspace / "Users", ignore_errors=True)
    for path in [path for layer in layers for path in layer.iterdir() if path not in before]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def call(name: str = "testx") -> str:
    """Write the cell that calls a package's function, which returns where it is."""
    return f"from {name} import function1; print(function1())"


def answer_of(project: Path, name: str = "testx") -> str:
    """Return what that cell prints if the package is imported from its project."""
    return f"function1 of {project}/src/{name}/functions.py\n"


def forget(name: str = "testx") -> str:
    """Write the cell that has the next import load a package again."""
    return f"import sys; del sys.modules['{name}'], sys.modules['{name}.functions']"


def uv_sync(node: Node, project: Path) -> str:
    """Write the cell that syncs a project into the notebook's environment."""
    uv = f"UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR='{node.root}/uv-cache' '{node.runtime}/bin/uv'"
    return f"!cd '{project}' && {uv} sync --quiet --active --no-index --find-links '{node.wheelhouse}' 2>&1"


def names_of_files(node: Node) -> set[str]:
    """List the files of a node, except those that kernels make."""
    return {name for name in node.snapshot() if not name.startswith(MADE_BY_KERNELS)}


@pytest.mark.releases("13.3", "15.4", "16.4")
def test_what_one_cell_installs_the_next_cell_imports(patched: Node) -> None:
    """Library code imports it too, and Python finds it again after a restart."""
    project = patched.copy_project("testx")
    with Kernel(patched.make_notebook()) as kernel:
        assert kernel.run(call()).error == NOT_FOUND

        installed = kernel.run(f"{PIP} -e {project}")

        assert kernel.run(call()).text == answer_of(project), installed
        kernel.run(forget())
        by_library = "from traitlets.utils.importstring import import_item; print(import_item('testx.function1')())"
        assert kernel.run(by_library).text == answer_of(project)
        assert kernel.run("dbutils.library.restartPython()").died
        assert kernel.run(call()).text == answer_of(project)


@pytest.mark.matrix
@pytest.mark.releases("16.4")
class TestWithoutShim:
    """What fails on a node without the shim, and what you can do in a kernel there."""

    def test_editable_install_is_not_found_even_after_a_restart(self, plain: Node) -> None:
        by_uv, by_pip = plain.copy_project("testy"), plain.copy_project("testx")
        with Kernel(plain.make_notebook()) as kernel:
            kernel.run(uv_sync(plain, by_uv))
            assert kernel.run(f"{PIP} -e {by_pip}").error == ""
            listed = kernel.run("from importlib import metadata; [metadata.version(x) for x in ('testx', 'testy')]")
            assert listed.error == ""
            for name in ("testx", "testy"):
                assert kernel.run(call(name)).error == f"ModuleNotFoundError: No module named '{name}'"
            assert kernel.run("dbutils.library.restartPython()").died
            for name in ("testx", "testy"):
                assert kernel.run(call(name)).error == f"ModuleNotFoundError: No module named '{name}'"

    def test_doctor_prints_the_cell_that_patches_the_kernel_and_the_patches_can_be_removed(self, plain: Node) -> None:
        project = plain.copy_project("testx")
        plain.install_editable(project)
        with Kernel(plain.make_notebook()) as kernel:
            show_path = "import sys; print(sys.path, sys.meta_path, sys.path_hooks)"
            before = kernel.run(show_path).text
            assert kernel.run(call()).error == NOT_FOUND

            found = kernel.run("import dbx_patch; found = dbx_patch.doctor('testx'); found")
            assert "</li>" in found.html[0]  # the places that the import passes through
            assert kernel.run("print(found.diagnoses[0].cause)").text == "shim not installed\n"
            cell = kernel.run("print(found.diagnoses[0].command)").text
            assert kernel.run(cell).error == ""
            assert kernel.run(call()).text == answer_of(project)

            kernel.run(forget())
            assert kernel.run("dbx_patch.remove_all_patches(); None").error == ""
            assert kernel.run(show_path).text == before
            assert kernel.run(call()).error == NOT_FOUND

            events = kernel.run("status = dbx_patch.patch_dbx(verbose=True)")
            assert events.error == ""
            assert f"root honored: {project}/src: " in events.text
            assert "hook patched: dbruntime.wsfs_import_hook" in events.text
            again = kernel.run("dbx_patch.patch_dbx(verbose=True); None")
            assert again.text.splitlines()[1:] == ["  nothing new"]
            assert kernel.run(call()).text == answer_of(project)

    def test_patch_and_install_restarts_python_if_it_can_and_reaches_this_environment_only(self, plain: Node) -> None:
        project = plain.copy_project("testx")
        plain.install_editable(project)
        before = names_of_files(plain)
        with Kernel(plain.make_notebook()) as kernel:
            done = kernel.run("import dbx_patch; dbx_patch.patch_and_install()")
            assert done.died, done
            assert f"dbx-patch {__version__} " in done.text
            assert kernel.run(call()).text == answer_of(project)
            again = kernel.run("import dbx_patch; done = dbx_patch.patch_and_install(); print(done.changed)")
            assert (again.died, again.error) == (False, "")
            assert again.text.endswith("[]\n")
            assert kernel.run(UNINSTALL) == Output("True\n")

            without = kernel.run("del dbutils; done = dbx_patch.patch_and_install(); print(bool(done.changed))")
            assert (without.died, without.error) == (False, "")
            assert "no dbutils here" in without.text
            assert without.text.endswith("True\n")
            assert kernel.run(call()).text == answer_of(project)
            kernel.restart()
            assert kernel.run(call()).text == answer_of(project)
            assert kernel.run(UNINSTALL) == Output("True\n")
        receipts = (".local", ".local/state", ".local/state/dbx-patch", ".local/state/dbx-patch/receipts.json")
        assert names_of_files(plain) - before <= {*receipts}
        with Kernel(plain.make_notebook()) as other:
            assert other.run(call()).error == NOT_FOUND

    def test_user_who_can_write_nothing_can_patch_the_kernel_and_learns_why_not_more(self, plain: Node) -> None:
        need_root("become another user")
        plain.open_to_all()
        project = plain.copy_project("testx")
        plain.install_editable(project)
        with Kernel(plain.make_notebook(), before=as_user(NOBODY)) as kernel:
            assert kernel.run("import os; os.getuid()").text == f"{NOBODY}\n"
            assert kernel.run(call()).error == NOT_FOUND
            refused = kernel.run("import dbx_patch; dbx_patch.patch_and_install()").error
            assert refused.startswith("InstallerError: Nothing was installed for ")
            assert "writ" in refused
            assert "sudo" in refused
            assert kernel.run(call()).text == answer_of(project)


@pytest.mark.matrix
@pytest.mark.releases("16.4")
class TestWithShim:
    """Notebooks on a node with the shim, which call nothing of dbx-patch."""

    def test_package_of_uv_sync_is_imported_by_the_next_cell(self, patched: Node, kernel: Kernel) -> None:
        project = patched.copy_project("synced")
        assert kernel.run(call("synced")).error == "ModuleNotFoundError: No module named 'synced'"

        output = kernel.run(uv_sync(patched, project))

        assert kernel.run(call("synced")).text == answer_of(project, "synced"), output

    def test_autoreload_runs_the_edited_code(self, patched: Node, kernel: Kernel) -> None:
        project = patched.copy_project("edited")
        patched.install_editable(project)
        kernel.run("%load_ext autoreload\n%autoreload 2")
        assert kernel.run(call("edited")).text == answer_of(project, "edited")

        file = project / "src/edited/functions.py"
        file.write_text(file.read_text().replace("function1 of", "edited function1 of"))

        assert kernel.run("print(function1())").text == f"edited {answer_of(project, 'edited')}"

        # An upgrade of dbx-patch changes the shim's file.
        shim = patched.layer(patched.runtime) / "dbx_patch_sitecustomize.py"
        written = shim.stat()
        count = "import sys; print(len(sys.meta_path), len(vars(sys.modules['dbx_patch_sitecustomize'])))"
        before = kernel.run(count)
        try:
            os.utime(shim, (written.st_atime + 60, written.st_mtime + 60))
            assert [kernel.run(count).text for _ in range(2)] == [before.text] * 2
        finally:
            os.utime(shim, ns=(written.st_atime_ns, written.st_mtime_ns))
            kernel.run("%autoreload 0")

    def test_libraries_import_the_user_s_package(self, patched: Node, kernel: Kernel) -> None:
        """pytest, an entry point and cloudpickle are in site-packages, and the hook refuses their imports."""
        project = patched.copy_project("plugged")
        with (project / "pyproject.toml").open("a") as file:
            file.write('\n[project.entry-points."testx.plugins"]\nfirst = "plugged:function1"\n')
        patched.install_editable(project)
        test = "from plugged import function1\ndef test_it(): assert function1()\n"
        (project / "src/plugged/test_it.py").write_text(test)
        answer = f"'{answer_of(project, 'plugged').strip()}'\n"

        pytest_run = "import pytest; int(pytest.main(['-q', '-p', 'no:cacheprovider', '--pyargs', 'plugged']))"
        tested = kernel.run(pytest_run).text
        assert tested.endswith("\n0\n"), tested
        kernel.run(forget("plugged"))
        load = "from importlib.metadata import entry_points; entry_points(group='testx.plugins')['first'].load()()"
        assert kernel.run(load).text == answer
        kernel.run("import cloudpickle, plugged; pickled = cloudpickle.dumps(plugged.function1); del plugged")
        kernel.run(forget("plugged"))
        assert kernel.run("cloudpickle.loads(pickled)()").text == answer

    def test_editable_install_shadows_an_old_copy_among_the_cluster_s_libraries(
        self, patched: Node, kernel: Kernel
    ) -> None:
        project = patched.copy_project("older")
        copy = patched.layer(patched.cluster_libraries) / "older"
        shutil.copytree(project / "src/older", copy)
        kernel.run(f"{PIP} -e {project}")

        assert kernel.run(call("older")).text == answer_of(project, "older")
        installs = "[found for found in dbx_patch.editable_installs() if found.name == 'older']"
        show = f"print([copy.path for found in {installs} for copy in found.hides])"
        assert kernel.run(f"import dbx_patch; {show}").text == f"{[str(copy)]}\n"

    def test_doctor_prints_cells_for_shell_and_pip_that_restart_python(self, patched: Node, kernel: Kernel) -> None:
        project = patched.copy_project("writable")
        patched.install_editable(project)
        pth = patched.layer(patched.runtime) / "__editable__.writable-0.1.0.pth"
        pth.chmod(0o666)

        ask = "import dbx_patch; print(dbx_patch.doctor('{}').diagnoses[0].command)"
        assert kernel.run(ask.format("writable")).text == f"!chmod o-w {pth}\ndbutils.library.restartPython()\n"
        assert kernel.run(f"!chmod o-w '{pth}'\ndbutils.library.restartPython()").died
        assert kernel.run(call("writable")).text == answer_of(project, "writable")
        assert kernel.run(ask.format("testz")).text == "%pip install -e <the folder of its project>\n"

    def test_kernel_that_is_killed_during_an_import_starts_again(self, patched: Node, kernel: Kernel) -> None:
        project = patched.copy_project("fatal")
        patched.install_editable(project)
        (project / "src/fatal/end.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

        assert kernel.run("import fatal.end").died
        assert kernel.run(call("fatal")).text == answer_of(project, "fatal")

    def test_two_notebooks_have_their_own_projects_and_keep_them_when_folders_change(self, patched: Node) -> None:
        projects = [patched.copy_project("testx", folder) for folder in ("one", "two")]
        shared = patched.copy_project("shared")
        patched.install_editable(shared)
        with Kernel(patched.make_notebook()) as first, Kernel(patched.make_notebook()) as second:
            for kernel, project in zip((first, second), projects, strict=True):
                kernel.run(f"{PIP} -e {project}")
            for kernel, project in zip((first, second), projects, strict=True):
                assert kernel.run(call()).text == answer_of(project)
                kernel.run(f"change_notebook_folder({str(projects[1])!r})")
                on_path = f"import sys; print({str(shared / 'src')!r} in sys.path, sys.path[0])"
                assert kernel.run(on_path).text == f"True {projects[1]}\n"
                assert kernel.run(call("shared")).text == answer_of(shared, "shared")
                kernel.run(forget())
                assert kernel.run(call()).text == answer_of(project)

    def test_folder_that_appears_after_the_kernel_has_started_is_found(self, patched: Node) -> None:
        """DBR can start kernels before they have a user, whose workspace they can't read yet."""
        project = patched.copy_project("testx")
        patched.install_editable(project)
        away = patched.workspace.rename(patched.workspace.with_name("away"))
        try:
            with Kernel(patched.make_notebook()) as kernel:
                assert kernel.run(call()).error == NOT_FOUND
                away.rename(patched.workspace)
                kernel.run("import time; time.sleep(1)")  # an absent root is asked once a second
                assert kernel.run(call()).text == answer_of(project)
        finally:
            if away.exists():
                away.rename(patched.workspace)

    def test_user_who_can_write_nothing_imports_editables(self, patched: Node) -> None:
        need_root("become another user")
        patched.open_to_all()
        project = patched.copy_project("testx")
        patched.install_editable(project)
        with Kernel(patched.make_notebook(), before=as_user(NOBODY)) as kernel:
            assert kernel.run("import os; os.getuid()").text == f"{NOBODY}\n"
            assert kernel.run(call()).text == answer_of(project)

    def test_full_disk_for_temporary_files_stops_no_import(self, patched: Node, tmp_path: Path) -> None:
        project = patched.copy_project("testx")
        patched.install_editable(project)
        full = tmp_path / "full"
        with disk_in_memory(full, "size=64k,nr_inodes=2"):
            (full / "filler").write_bytes(bytes(shutil.disk_usage(full).free))
            with Kernel(patched.make_notebook(), {"TMPDIR": str(full)}) as kernel:
                assert kernel.run(call()).text == answer_of(project)
                kernel.run(f"import tempfile; tempfile.tempdir = {str(full)!r}")
                status = kernel.run(
                    "import dbx_patch; status = dbx_patch.check_patch_status(); print(status.live, status)"
                )
                assert status.error == ""
                assert status.text.startswith("True ")
                assert "No space left on device" in status.text

    def test_workspace_folder_that_answers_with_errors_stops_no_other_import(self, patched: Node) -> None:
        patched.install_editable(patched.copy_project("testx"))
        root = patched.project("testx") / "src"
        calls = "newfstatat,stat,lstat,statx,openat,getdents64"
        fault = [require("strace"), "-f", "-qq", "-o", "/dev/null", "-P", str(root), "-e", f"inject={calls}:error=EIO"]
        with Kernel(patched.make_notebook(), before=fault) as kernel:
            assert kernel.run("import json; 1").text == "1\n"
            assert kernel.run(call()).error == NOT_FOUND
            verify = "import dbx_patch; print(dbx_patch.verify_editable_installs().installs[0].unreadable)"
            assert kernel.run(verify).text == f"('{root}: Input/output error',)\n"


@pytest.mark.matrix
@pytest.mark.releases("16.4")
class TestNotebooksOfTheDocumentation:
    """The notebooks in `docs/notebooks`, run cell by cell on a node with the shim."""

    def test_quick_start(self, patched: Node) -> None:
        project = patched.copy_project("testx")

        cells = run_notebook(patched, "quick_start")

        assert " is live, from " in cells[PATCH].text
        check_quick_start(cells, project)

    def test_diagnosis(self, patched: Node) -> None:
        """It finds nothing wrong with the process, and reports a package that is not installed, then one that is."""
        project = patched.copy_project("testx")

        _, found, installs, hooks, file, *_ = run_notebook(patched, "diagnose_editable_imports")
        assert "testx" in found.html[0]
        assert str(project) not in found.html[0]
        assert "There are no editable installs in the layers on sys.path." in installs.html[0]
        assert " is live, from " in hooks.html[0]
        assert " is live in " in file.html[0]

        patched.install_editable(project)
        _, found, installs, *_ = run_notebook(patched, "diagnose_editable_imports")
        assert f"importable from {project}/src/testx/__init__.py" in found.html[0]
        assert '<span class="good">✓</span></td><td>testx 0.1.0</td>' in installs.html[0]


@pytest.mark.matrix
@pytest.mark.releases("16.4")
class TestNotebooksWithoutAnAdministrator:
    """The same for a user who can write the notebook's environment and a project, on a node that has no dbx-patch."""

    @pytest.fixture(autouse=True)
    def without_package(self, plain: Node) -> Iterator[None]:
        need_root("become another user")
        plain.pip("uninstall", "--quiet", "--yes", "dbx-patch")
        plain.open_to_all()
        yield
        plain.install_dbx_patch()

    def test_quick_start(self, plain: Node) -> None:
        project = plain.copy_project("testx")

        cells = run_notebook(plain, "quick_start", user=NOBODY)

        assert " is live, from " in cells[PATCH].text
        check_quick_start(cells, project)

    def test_diagnosis(self, plain: Node) -> None:
        plain.copy_project("testx")

        _, found, _, hooks, file, *_, selftest = run_notebook(plain, "diagnose_editable_imports", user=NOBODY)

        assert "testx" in found.html[0]
        assert "not live" in hooks.html[0]
        assert "dbx-patch is not installed for " in file.html[0]
        assert selftest.updates[-1].startswith(f"{FAILED} Self-test")


PATCH, IMPORT, RESTART, IMPORT_AGAIN = 1, 3, 4, 6
"""Cells of the quick start, by their number."""


def check_quick_start(cells: list[Output], project: Path) -> None:
    """Check that the quick start has restarted Python, and imported the project before that and after it."""
    assert cells[RESTART].died
    assert cells[-1].updates[-1].startswith(f"{PASSED} Self-test"), re.findall(f"{FAILED}.*?</tr>", cells[-1].html[-1])
    for cell in (IMPORT, IMPORT_AGAIN):
        assert cells[cell].text == answer_of(project)


def run_notebook(node: Node, name: str, *, user: int | None = None) -> list[Output]:
    """Run a notebook of the documentation, as root or as a user who owns the environment. No cell of it may fail."""
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(node.wheelhouse),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as "no build isolation"
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    places = {
        "/Volumes/main/default/libraries": str(node.wheelhouse),
        "/Workspace/Users/you@example.com/testx": str(node.project("testx")),
    }
    notebook = node.make_notebook()
    if user is not None:
        node.run(["chown", "--recursive", f"{user}:{user}", notebook.environment, node.project("testx")])
    with Kernel(notebook, offline, before=[] if user is None else as_user(user)) as kernel:
        return kernel.run_notebook(name, places)
