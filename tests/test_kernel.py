"""What a person does in a notebook, in a real kernel behind Databricks' published import hook."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.disks import disk_in_memory
from tests.lab.kernel import Kernel, as_user, install_ipykernel, provide_real_hook
from tests.lab.missing import need_root
from tests.lab.node import Node
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = [pytest.mark.pythons("3.12"), pytest.mark.releases("16.4"), pytest.mark.real("notebook kernels")]

DEAD = "ModuleNotFoundError: No module named 'testx'"
CALL = "from testx import function1; print(function1())"
PIP = "%pip --disable-pip-version-check install --quiet --no-index --no-deps --no-build-isolation"
NOBODY = 65534
"""The id of the user that owns nothing."""
MADE_BY_KERNELS = ("local_disk0/.ephemeral_nfs/envs", "kernels", "ipython", "databricks/python_shell")
"""Folders that running a kernel makes on a node."""


def build(folder: Path, interpreter: Interpreter, wheelhouse: Path, real_hook: Path) -> Node:
    """Build a node whose notebooks have kernels, with dbx-patch as a package."""
    node = Node(folder.resolve() / "node", interpreter, wheelhouse, sitecustomize=True).build()
    (folder / "wheels").mkdir()
    install_ipykernel(node, folder / "wheels")
    provide_real_hook(node, real_hook)
    node.install_dbx_patch()
    return node


@pytest.fixture(scope="module")
def plain(
    interpreter: Interpreter, wheelhouse: Path, real_hook: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node where the shim is not installed."""
    node = build(tmp_path_factory.mktemp("plain"), interpreter, wheelhouse, real_hook)
    yield node
    shutil.rmtree(node.root)


@pytest.fixture(scope="module")
def patched(
    interpreter: Interpreter, wheelhouse: Path, real_hook: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node where the shim is installed."""
    node = build(tmp_path_factory.mktemp("patched"), interpreter, wheelhouse, real_hook)
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    yield node
    shutil.rmtree(node.root)


@pytest.fixture(autouse=True)
def no_projects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no project, and no editable install of one, to the next test."""
    yield
    for name in ("plain", "patched"):
        if name in request.fixturenames:
            node: Node = request.getfixturevalue(name)
            shutil.rmtree(node.workspace / "Users", ignore_errors=True)
            for layer in (node.runtime, node.cluster_libraries):
                for left in node.layer(layer).glob("*testx*"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def uv_sync(node: Node, project: Path) -> str:
    """Write the cell that syncs a project into the notebook's environment."""
    uv = f"UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR='{node.root}/uv-cache' '{node.runtime}/bin/uv'"
    return f"!cd '{project}' && {uv} sync --quiet --active --no-index --find-links '{node.wheelhouse}' 2>&1"


class TestWithout:
    """The shim installed: what fails, and what a person can do in the kernel."""

    @pytest.mark.parametrize("how", ["pip", "uv"])
    def test_editable_install_stays_dead_even_after_a_restart(self, plain: Node, how: str) -> None:
        project = plain.copy_project("testx")
        with Kernel(plain.make_notebook()) as kernel:
            assert kernel.run(f"{PIP} -e {project}" if how == "pip" else uv_sync(plain, project)).error == ""
            assert kernel.run(CALL).error == DEAD
            assert kernel.run("dbutils.library.restartPython()").died
            assert kernel.run(CALL).error == DEAD

    def test_patch_dbx_mends_the_running_kernel_and_says_what_it_did_once(self, plain: Node) -> None:
        plain.install_editable(plain.copy_project("testx"))
        with Kernel(plain.make_notebook()) as kernel:
            assert kernel.run(CALL).error == DEAD

            said = kernel.run("from dbx_patch import patch_dbx; status = patch_dbx(verbose=True)")

            assert said.error == ""
            assert said.text.startswith("dbx-patch ")
            assert f"  root {plain.project('testx')}/src honored, behind " in said.text
            assert "dbruntime.wsfs_import_hook: patched" in said.text
            again = kernel.run("patch_dbx(verbose=True); None")
            assert again.text.splitlines()[1:] == ["  nothing new"]
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_doctor_draws_what_is_wrong_and_gives_the_cell_that_mends_it(self, plain: Node) -> None:
        plain.install_editable(plain.copy_project("testx"))
        with Kernel(plain.make_notebook()) as kernel:
            drawn = kernel.run("import dbx_patch; found = dbx_patch.doctor('testx'); found")

            assert "the start-up shim is not installed here" in drawn.html[0]
            cell = kernel.run("print(found.diagnoses[0].command)").text
            assert kernel.run(cell).error == ""
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_remove_all_patches_undoes_it(self, plain: Node) -> None:
        plain.install_editable(plain.copy_project("testx"))
        with Kernel(plain.make_notebook()) as kernel:
            before = kernel.run("import sys; print(sys.path, sys.meta_path, sys.path_hooks)").text
            kernel.run("import dbx_patch; dbx_patch.patch_dbx()")

            kernel.run("dbx_patch.remove_all_patches()")

            assert kernel.run("print(sys.path, sys.meta_path, sys.path_hooks)").text == before
            assert kernel.run(CALL).error == DEAD

    def test_patch_and_install_restarts_python_and_is_good_for_this_environment(self, plain: Node) -> None:
        plain.install_editable(plain.copy_project("testx"))
        before = {name for name in plain.snapshot() if not name.startswith(MADE_BY_KERNELS)}
        with Kernel(plain.make_notebook()) as kernel:
            done = kernel.run("import dbx_patch; dbx_patch.patch_and_install()")

            assert done.died, done
            assert "Python is restarted" in done.text
            assert kernel.run(CALL).text.startswith("function1 of ")
            again = kernel.run("import dbx_patch; done = dbx_patch.patch_and_install()")
            assert (again.died, again.error) == (False, "")
            assert "is installed already" in again.text
            assert kernel.run("from dbx_patch.uninstall import main").error == ""
        after = {name for name in plain.snapshot() if not name.startswith(MADE_BY_KERNELS)}
        assert after - before <= {
            ".local",
            ".local/state",
            ".local/state/dbx-patch",
            ".local/state/dbx-patch/receipts.json",
        }
        with Kernel(plain.make_notebook()) as other:
            assert other.run(CALL).error == DEAD

    def test_patch_and_install_says_what_to_do_where_there_is_no_dbutils(self, plain: Node) -> None:
        plain.install_editable(plain.copy_project("testx"))
        with Kernel(plain.make_notebook()) as kernel:
            done = kernel.run("del dbutils; import dbx_patch; done = dbx_patch.patch_and_install()")

            assert (done.died, done.error) == (False, "")
            assert "no dbutils here that could restart Python" in done.text
            assert kernel.run(CALL).text.startswith("function1 of ")
            kernel.restart()
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_user_who_may_write_nothing_can_patch_the_kernel_and_is_told_why_not_more(self, plain: Node) -> None:
        need_root("become another user")
        plain.open_to_all()
        plain.install_editable(plain.copy_project("testx"))
        with Kernel(plain.make_notebook(), before=as_user(NOBODY)) as kernel:
            assert kernel.run("import os; os.getuid()").text == f"{NOBODY}\n"
            assert kernel.run(CALL).error == DEAD
            refused = kernel.run("import dbx_patch; dbx_patch.patch_and_install()")
            assert refused.error.startswith("InstallerError: Nothing was installed for ")
            assert "is not writable by this user" in refused.error
            assert "sudo" in refused.error
            assert kernel.run(CALL).text.startswith("function1 of ")


class TestWith:
    """The shim installed: no call in any notebook."""

    @pytest.mark.parametrize("how", ["pip", "uv"])
    def test_what_one_cell_installs_the_next_one_imports(self, patched: Node, how: str) -> None:
        project = patched.copy_project("testx")
        with Kernel(patched.make_notebook()) as kernel:
            assert kernel.run(CALL).error == DEAD
            said = kernel.run(f"{PIP} -e {project}" if how == "pip" else uv_sync(patched, project))
            assert kernel.run(CALL).text.startswith("function1 of "), said
            kernel.run("dbutils.library.restartPython()")
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_autoreload_runs_what_was_edited(self, patched: Node) -> None:
        project = patched.copy_project("testx")
        patched.install_editable(project)
        with Kernel(patched.make_notebook()) as kernel:
            kernel.run("%load_ext autoreload\n%autoreload 2")
            assert kernel.run(CALL).text.startswith("function1 of ")
            file = project / "src/testx/functions.py"
            file.write_text(file.read_text().replace("function1 of", "edited function1 of"))
            assert kernel.run("print(function1())").text.startswith("edited function1 of ")

    def test_survives_a_new_environment_and_a_change_of_folder(self, patched: Node) -> None:
        patched.install_editable(patched.copy_project("testx"))
        other = patched.copy_project("other")
        root = str(patched.project("testx") / "src")
        for _ in range(2):
            with Kernel(patched.make_notebook()) as kernel:
                kernel.run(f"change_notebook_folder({str(other)!r})")
                assert kernel.run(f"import sys; print({root!r} in sys.path, sys.path[0])").text == f"True {other}\n"
                assert kernel.run(CALL).text.startswith("function1 of ")

    def test_folder_that_appears_after_the_kernel_is_up(self, patched: Node) -> None:
        """As where kernels are started in advance, before they have a user."""
        patched.install_editable(patched.copy_project("testx"))
        away = patched.workspace.rename(patched.workspace.with_name("away"))
        try:
            with Kernel(patched.make_notebook()) as kernel:
                assert kernel.run(CALL).error == DEAD
                away.rename(patched.workspace)
                kernel.run("import time; time.sleep(1)")  # an absent root is asked once a second
                assert kernel.run(CALL).text.startswith("function1 of ")
        finally:
            if away.exists():
                away.rename(patched.workspace)

    def test_libraries_import_the_user_s_package(self, patched: Node) -> None:
        """pytest, cloudpickle, and a plugin by its entry point: all in site-packages, where the hook refuses them."""
        project = patched.copy_project("testx")
        with (project / "pyproject.toml").open("a") as file:
            file.write('\n[project.entry-points."testx.plugins"]\nfirst = "testx:function1"\n')
        patched.install_editable(project)
        (project / "src/testx/test_it.py").write_text(
            "from testx import function1\ndef test_it(): assert function1()\n"
        )
        with Kernel(patched.make_notebook()) as kernel:
            tested = kernel.run(
                "import pytest; int(pytest.main(['-q', '-p', 'no:cacheprovider', '--pyargs', 'testx']))"
            )
            assert tested.text.endswith("\n0\n"), tested.text
            kernel.run("import sys; del sys.modules['testx'], sys.modules['testx.functions']")
            load = "from importlib.metadata import entry_points; entry_points(group='testx.plugins')['first'].load()()"
            assert kernel.run(load).text.startswith("'function1 of ")
            kernel.run("import cloudpickle, testx; pickled = cloudpickle.dumps(testx.function1); del testx")
            kernel.run("for name in ('testx', 'testx.functions'): del sys.modules[name]")
            assert kernel.run("cloudpickle.loads(pickled)()").text.startswith("'function1 of ")

    def test_editable_install_wins_over_an_old_wheel_among_the_cluster_s_libraries(self, patched: Node) -> None:
        project = patched.copy_project("testx")
        copy = patched.layer(patched.cluster_libraries) / "testx"
        shutil.copytree(project / "src/testx", copy)
        with Kernel(patched.make_notebook()) as kernel:
            kernel.run(f"{PIP} -e {project}")
            assert kernel.run(CALL).text.startswith(f"function1 of {project}/src")
            told = kernel.run("import dbx_patch; print(*dbx_patch.editable_installs())").text
            assert f"stands in front of: {copy}\n" in told

    def test_two_notebooks_have_each_their_own(self, patched: Node) -> None:
        projects = [patched.copy_project("testx", folder) for folder in ("one", "two")]
        with Kernel(patched.make_notebook()) as first, Kernel(patched.make_notebook()) as second:
            for kernel, project in zip((first, second), projects, strict=True):
                kernel.run(f"{PIP} -e {project}")
            for kernel, project in zip((first, second), projects, strict=True):
                assert kernel.run(CALL).text.startswith(f"function1 of {project}/src")

    def test_doctor_gives_cells_for_shell_and_pip_that_restart_python(self, patched: Node) -> None:
        patched.install_editable(patched.copy_project("testx"))
        pth = patched.layer(patched.runtime) / "__editable__.testx-0.1.0.pth"
        pth.chmod(0o666)
        with Kernel(patched.make_notebook()) as kernel:
            ask = "import dbx_patch; found = dbx_patch.doctor('testx').diagnoses[0]; print(found.command)"
            assert kernel.run(ask).text == f"!chmod o-w {pth}\ndbutils.library.restartPython()\n"
            assert kernel.run(f"!chmod o-w '{pth}'\ndbutils.library.restartPython()").died
            assert kernel.run(CALL).text.startswith("function1 of ")
            assert kernel.run(ask.replace("'testx'", "'testz'")).text == "%pip install -e <the folder of its project>\n"

    def test_serves_a_user_who_may_write_nothing(self, patched: Node) -> None:
        need_root("become another user")
        patched.open_to_all()
        patched.install_editable(patched.copy_project("testx"))
        with Kernel(patched.make_notebook(), before=as_user(NOBODY)) as kernel:
            assert kernel.run("import os; os.getuid()").text == f"{NOBODY}\n"
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_killed_in_the_middle_of_an_import(self, patched: Node) -> None:
        project = patched.copy_project("testx")
        patched.install_editable(project)
        (project / "src/testx/end.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        with Kernel(patched.make_notebook()) as kernel:
            assert kernel.run("import testx.end").died
            assert kernel.run(CALL).text.startswith("function1 of ")

    def test_full_disk_for_temporary_files(self, patched: Node, tmp_path: Path) -> None:
        patched.install_editable(patched.copy_project("testx"))
        full = tmp_path / "full"
        with disk_in_memory(full, "size=64k,nr_inodes=2"):
            (full / "filler").write_bytes(bytes(shutil.disk_usage(full).free))
            with Kernel(patched.make_notebook(), {"TMPDIR": str(full)}) as kernel:
                assert kernel.run(CALL).text.startswith("function1 of ")
                kernel.run(f"import tempfile; tempfile.tempdir = {str(full)!r}")
                told = kernel.run("import dbx_patch; print(dbx_patch.check_patch_status())")
                assert told.error == ""
                assert " is live, from " in told.text
                assert "for want of a temporary folder: [Errno 28] No space left on device" in told.text

    def test_workspace_folder_that_answers_with_errors(self, patched: Node) -> None:
        patched.install_editable(patched.copy_project("testx"))
        root = patched.project("testx") / "src"
        calls = "newfstatat,stat,lstat,statx,openat,getdents64"
        fault = [require("strace"), "-f", "-qq", "-o", "/dev/null", "-P", str(root), "-e", f"inject={calls}:error=EIO"]
        with Kernel(patched.make_notebook(), before=fault) as kernel:
            assert kernel.run("import json; 1").text == "1\n"
            assert kernel.run(CALL).error == DEAD
            told = kernel.run("import dbx_patch; print(dbx_patch.verify_editable_installs())")
            assert told.error == ""
            assert f"can't be read: {root}: Input/output error" in told.text
