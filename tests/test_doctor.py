"""The doctor: each way in which an import is known to fail has its own diagnosis, and a command that mends it."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import validate

from tests.lab.missing import need_root
from tests.lab.node import OFF
from tests.lab.trace import require
from tests.lab.wheels import REPOSITORY
from tests.test_hooks import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.lab.node import Node, Notebook

pytestmark = [pytest.mark.pythons("3.12"), pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])]

NOBODY = 65534
ASK = "import json, dbx_patch; print(json.dumps(dbx_patch.doctor({!r}).to_json()))"
SCHEMA = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text())


class Patient:
    """A notebook in which a project should be importable, and is not."""

    def __init__(self, notebook: Notebook, name: str = "sickx") -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.name = name
        self.project = self.node.project(name)
        self.root = self.project / "src"
        self.layer = Path(notebook.layers[2])
        self.pip = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.node.wheelhouse),
            "PIP_NO_BUILD_ISOLATION": "0",  # which has pip use what is there
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    @property
    def pth(self) -> Path:
        (pth,) = self.layer.glob(f"*{self.name}*.pth")
        return pth

    def ask(
        self,
        module: str = "",
        *,
        before: str = "",
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Ask the doctor in a fresh interpreter; `before` is code that runs first, `prefix` what runs Python."""
        code = before + "\n" + ASK.format(module or self.name)
        environment = self.notebook.environ | dict(environ or {})
        done = self.node.run([*prefix, self.notebook.python, *options, "-c", code], environment)
        report: dict[str, Any] = json.loads(done.stdout)
        validate(report, SCHEMA)
        (diagnosis,) = report["diagnoses"]
        return dict(diagnosis)

    def mend(self, command: str, module: str = "") -> subprocess.CompletedProcess[str]:
        """Run in a shell what the doctor has given, and ask again there."""
        again = f"{command}\n'{self.notebook.python}' -m dbx_patch doctor {module or self.name}"
        return self.node.run(["sh", "-c", again], self.notebook.environ | self.pip, check=False)

    def mends(self, diagnosis: Mapping[str, Any], module: str = "") -> bool:
        """Tell whether a diagnosis's command mends it."""
        done = self.mend(diagnosis["command"], module)
        assert done.returncode == 0, (diagnosis["command"], done.stdout, done.stderr)
        return True


@pytest.fixture
def sick(installed: Node) -> Iterator[Patient]:
    """A second project beside `testx`, for a test to break."""
    installed.install_editable(installed.copy_project("sickx"))
    yield Patient(installed.make_notebook())
    shutil.rmtree(installed.project("sickx"), ignore_errors=True)
    for environment in (installed.runtime, installed.cluster_libraries):
        for left in installed.layer(environment).glob("*sickx*"):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@pytest.fixture
def flat(sick: Patient) -> Patient:
    """The same, installed with a finder."""
    (sick.root / "sickx").rename(sick.project / "sickx")
    sick.root.rmdir()
    sick.node.install_editable(sick.project)
    return sick


@pytest.fixture
def unpatched(node: Node) -> Patient:
    """A notebook on a node where the package is, and the shim is not installed."""
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    return Patient(node.make_notebook(), "testx")


@pytest.fixture
def patched(unpatched: Patient) -> Patient:
    """The same, with the shim installed."""
    assert unpatched.node.dbx_patch("dbx_patch.install").returncode == 0
    return unpatched


# Where nothing is wrong


def test_importable_module_is_healthy_and_executors_are_thought_of(sick: Patient) -> None:
    found = sick.ask()

    assert (found["healthy"], found["cause"], found["command"]) == (True, "driver only", "")
    assert found["summary"] == f"importable, from {sick.root}/sickx/__init__.py"
    assert found["evidence"] == [
        f"{sick.project} is on the driver alone, and executors can't import it: move it below /Workspace or /Volumes"
    ]
    assert found["steps"][0] == {
        "kind": "finder",
        "place": "dbx-patch",
        "state": "passes",
        "detail": "looks for new installs",
        "ends": False,
    }
    last = found["steps"][-1]
    assert (last["kind"], last["place"], last["state"]) == ("root", str(sick.root), "found")
    assert last["detail"] == f"{sick.root}/sickx/__init__.py"
    assert [step["place"] for step in found["steps"] if step["kind"] == "layer"] == sick.notebook.layers[:3]
    assert not [step for step in found["steps"] if step["state"] == "stops"]


def test_submodule_is_healthy(sick: Patient) -> None:
    assert sick.ask("sickx.functions")["healthy"] is True


def test_module_of_no_editable_install_is_healthy(sick: Patient) -> None:
    found = sick.ask("json")

    assert (found["healthy"], found["cause"]) == (True, "healthy")
    assert found["summary"].endswith("/json/__init__.py, which is no editable install")


def test_project_is_known_by_its_name_as_well(sick: Patient) -> None:
    pyproject = sick.project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"sickx"', '"The.Sick-Project"'))
    sick.node.install_editable(sick.project)
    try:
        assert sick.ask("the-sick-project")["module"] == "sickx"
    finally:
        sick.node.pip("uninstall", "--quiet", "--yes", "the-sick-project")


def test_finder_that_executors_lack_is_told(flat: Patient) -> None:
    found = flat.ask()

    assert (found["healthy"], found["cause"]) == (True, "executors lack its finder")
    assert found["steps"][-1]["kind"] == "finder"


def test_name_that_databricks_uses_itself_is_told(sick: Patient) -> None:
    (sick.root / "sickx").rename(sick.root / "dlt")
    sick.node.install_editable(sick.project)

    found = sick.ask("dlt")

    assert (found["healthy"], found["cause"]) == (True, "name taken")


def test_all_editable_installs_are_examined_if_no_module_is_named(sick: Patient) -> None:
    code = "import dbx_patch; print([found.module for found in dbx_patch.doctor().diagnoses])"

    assert sick.notebook.run(code, check=True).stdout == "['sickx', 'testx']\n"


# What is wrong with the install


def test_unknown_name_is_not_installed(sick: Patient) -> None:
    found = sick.ask("sickz")

    assert (found["healthy"], found["cause"]) == (False, "not installed")
    assert found["evidence"] == ["there is: sickx"]
    assert found["command"].endswith(" -m pip install -e <the folder of its project>")


def test_submodule_that_is_not_there(sick: Patient) -> None:
    found = sick.ask("sickx.function.more")

    assert (found["cause"], found["summary"]) == (
        "no such module",
        "the package is found, and has no sickx.function",
    )
    assert "there is: sickx.functions" in found["evidence"]


def test_package_that_was_renamed_in_its_project(sick: Patient) -> None:
    (sick.root / "sickx").rename(sick.root / "sicky")

    found = sick.ask()

    assert (found["cause"], found["evidence"]) == (
        "no such module",
        [f"{sick.pth}, line 1: {sick.root}", "there is: sicky"],
    )


def test_project_that_was_moved(sick: Patient) -> None:
    moved = sick.project.rename(sick.project.with_name("sickx2"))

    found = sick.ask()

    shutil.rmtree(moved)
    assert found["cause"] == "folder absent"
    assert found["evidence"] == [
        f"absent: {sick.root}",
        f"there as far as: {sick.project.parent}",
        f"there is: {moved}",
        f"{sick.pth}, line 1: {sick.root}",
    ]
    assert found["command"].endswith("-m pip install -e <the folder of sickx>")
    stops = next(step for step in found["steps"] if step["state"] == "stops")
    assert (stops["place"], stops["detail"]) == (str(sick.root), "absent, or can't be read")


def test_project_of_a_finder_that_was_moved(flat: Patient) -> None:
    flat.project.rename(flat.project.with_name("sickx2"))
    try:
        found = flat.ask()
    finally:
        flat.project.with_name("sickx2").rename(flat.project)

    assert (found["cause"], found["evidence"][0]) == ("folder absent", f"absent: {flat.project}")


def test_tree_of_links_that_was_cleaned_away(sick: Patient) -> None:
    strict = ("--config-settings", "editable_mode=strict")
    sick.node.pip("install", "--quiet", "--no-deps", "--no-build-isolation", *strict, "-e", sick.project)
    shutil.rmtree(sick.project / "build")

    found = sick.ask()

    assert (found["cause"], found["summary"]) == ("links missing", "its tree of links is not there")
    assert sick.mends(found)


def test_folder_that_this_user_may_not_enter(sick: Patient) -> None:
    need_root("become another user")
    sick.node.open_to_all()
    sick.project.chmod(0o700)

    found = sick.ask(prefix=as_user_plainly())

    assert (found["cause"], found["command"]) == ("folder unreadable", f"chmod a+rx {sick.project}")
    assert found["evidence"][:2] == [f"{sick.root}: Permission denied", f"refused by: {sick.project}"]
    sick.mend(found["command"])
    assert sick.ask(prefix=as_user_plainly())["healthy"] is True


def test_folder_of_a_mount_that_answers_with_an_error(sick: Patient) -> None:
    calls = "newfstatat,stat,lstat,statx,openat,getdents64"
    fault = ("-qq", "-f", "-o", "/dev/null", f"--trace-path={sick.root}", f"--inject={calls}:error=EIO")

    found = sick.ask(prefix=[require("strace"), *fault])

    assert (found["cause"], found["command"]) == ("folder unreadable", "")
    assert found["evidence"][0] == f"{sick.root}: Input/output error"


def test_layer_that_everybody_may_write(sick: Patient) -> None:
    layer = Path(sick.notebook.layers[1])
    for file in sick.layer.glob("*sickx*"):
        file.rename(layer / file.name)
    layer.chmod(0o777)
    try:
        found = sick.ask()

        assert (found["cause"], found["command"]) == ("refused", f"chmod o-w {layer}")
        assert sick.mends(found)
    finally:
        layer.chmod(0o755)


def test_pth_that_everybody_may_write(sick: Patient) -> None:
    sick.pth.chmod(0o666)

    found = sick.ask()

    assert (found["cause"], found["evidence"], found["command"]) == (
        "refused",
        [str(sick.pth)],
        f"chmod o-w {sick.pth}",
    )
    assert sick.mends(found)


def test_pth_that_is_a_link_into_a_folder_that_everybody_may_write(sick: Patient) -> None:
    folder = sick.node.root / "open"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    pth = sick.pth
    pth.symlink_to(pth.rename(folder / pth.name))

    found = sick.ask()

    assert (found["cause"], found["command"]) == ("refused", f"chmod o-w {folder}")
    assert sick.mends(found)


def test_pth_that_is_no_text(sick: Patient) -> None:
    sick.pth.write_bytes(b"\0")

    found = sick.ask()

    assert (found["cause"], found["evidence"]) == ("refused", [f"{sick.pth}: refused: NUL bytes"])


def test_pth_that_this_user_may_not_read(sick: Patient) -> None:
    need_root("become another user")
    sick.node.open_to_all()
    sick.pth.chmod(0o600)

    found = sick.ask(prefix=as_user_plainly())

    assert (found["cause"], found["command"]) == ("unreadable", f"chmod a+r {sick.pth}")
    sick.mend(found["command"])
    assert sick.ask(prefix=as_user_plainly())["healthy"] is True


def test_start_up_line_that_raises(flat: Patient) -> None:
    finder = next(flat.layer.glob("__editable___sickx*_finder.py"))
    finder.write_text(finder.read_text().replace("def install():", "def install():\n    raise OSError('out of order')"))

    found = flat.ask()

    assert (found["cause"], found["evidence"][-1]) == ("start-up line failed", "OSError: out of order")
    assert flat.mends(found)


def test_start_up_line_that_lacks_a_package(flat: Patient) -> None:
    finder = next(flat.layer.glob("__editable___sickx*_finder.py"))
    finder.write_text(finder.read_text().replace("import sys\n", "import sys\nimport a_helper\n", 1))

    found = flat.ask()

    assert found["cause"] == "start-up line failed"
    assert found["command"].endswith(" -m pip install a_helper")


# What stands in its way


def test_distribution_in_a_layer_above(sick: Patient) -> None:
    target = f"--target={sick.notebook.layers[1]}"
    sick.node.pip("install", "--quiet", "--no-deps", "--no-build-isolation", target, sick.project)

    found = sick.ask()

    copy = f"{sick.notebook.layers[1]}/sickx/__init__.py"
    assert (found["cause"], found["evidence"][0]) == ("shadowed", f"imported from: {copy}")
    assert found["steps"][-1]["detail"] == f"another copy: {copy}"
    assert sick.mends(found)


def test_folder_in_a_layer_above(sick: Patient) -> None:
    copy = Path(sick.notebook.layers[1], "sickx")
    copy.mkdir()
    copy.joinpath("__init__.py").touch()

    found = sick.ask()

    assert (found["cause"], found["command"]) == ("shadowed", f"mv {copy} {copy}.old")
    assert sick.mends(found)


def test_file_in_the_notebooks_folder(sick: Patient) -> None:
    copy = sick.node.root / "databricks/driver/sickx.py"
    copy.touch()
    try:
        found = sick.ask()

        assert (found["cause"], found["summary"]) == ("shadowed", "another copy stands before the editable one")
        assert sick.ask(environ=OFF)["cause"] == "shadowed"  # to start the shim would not mend it
        assert sick.mends(found)
    finally:
        for left in copy.parent.glob("sickx*"):
            left.unlink()


def test_copy_that_stands_before_it_and_was_imported_is_shadowing_for_a_restart_mends_nothing(sick: Patient) -> None:
    copy = sick.node.root / "databricks/driver/sickx.py"
    copy.touch()
    try:
        found = sick.ask(before="import sickx")
    finally:
        copy.unlink()

    assert (found["cause"], found["command"]) == ("shadowed", f"mv {copy} {copy}.old")


@pytest.mark.parametrize("name", ["json", "tabnanny", "dbruntime"])
def test_module_of_python_or_databricks_is_never_moved_out_of_the_way(sick: Patient, name: str) -> None:
    (sick.root / "sickx").rename(sick.root / name)
    sick.node.install_editable(sick.project)
    theirs = sick.node.root / "theirs/dbruntime/__init__.py"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.touch()

    found = sick.ask(name, before=f"import sys; sys.path.insert(0, {str(theirs.parent.parent)!r})")

    assert (found["cause"], found["command"]) == ("shadowed", "")
    assert found["summary"].endswith("rename yours")


def test_copy_that_was_imported_before(sick: Patient) -> None:
    old = sick.node.root / "old/sickx.py"
    old.parent.mkdir(exist_ok=True)
    old.touch()

    found = sick.ask(before=f"import sys; sys.path.insert(0, {str(old.parent)!r}); import sickx; del sys.path[0]")

    assert (found["cause"], found["evidence"][0]) == ("imported before", f"imported from: {old}")


def test_project_that_was_installed_again_from_elsewhere(sick: Patient) -> None:
    other = sick.node.copy_project("sickx", "other")
    pip = [str(sick.node.python), "-m", "pip", "install", "-q", "-e", str(other)]
    before = f"import os, subprocess, sickx; subprocess.run({pip!r}, env={{**os.environ, **{sick.pip!r}}}, check=True)"
    try:
        found = sick.ask(before=before)
    finally:
        shutil.rmtree(other)

    assert (found["cause"], found["evidence"][0]) == (
        "installed again",
        f"imported from: {sick.root}/sickx/__init__.py",
    )


def test_root_that_was_taken_off_the_path(sick: Patient) -> None:
    found = sick.ask(before=f"import sys; sys.path.remove({str(sick.root)!r})")

    assert (found["cause"], found["summary"]) == ("off the path", f"somebody took {sick.root} off sys.path")


def test_finder_that_was_taken_off_the_meta_path(flat: Patient) -> None:
    before = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if f.__class__.__module__ != 'types']"
    before += "\nsys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]"

    found = flat.ask(before=before)

    assert (found["cause"], found["summary"]) == ("off the path", "somebody took its finder off sys.meta_path")


def test_finder_that_raises(sick: Patient) -> None:
    broken = "import sys\nclass Broken:\n def find_spec(*_):\n  if 'sickx' in _: raise OSError('out of order')\n"

    found = sick.ask(before=broken + "sys.meta_path.insert(1, Broken())")

    assert (found["cause"], found["evidence"]) == ("finder failed", ["OSError('out of order')"])
    assert found["steps"][-1]["place"] == "__main__.Broken"


def test_what_nobody_knows_is_said_to_be_unknown(sick: Patient) -> None:
    blind = f"""
import sys
from importlib.machinery import FileFinder
class Blind(FileFinder):
    def find_spec(self, *_):
        return None
sys.path_importer_cache[{str(sick.root)!r}] = Blind({str(sick.root)!r})
"""
    found = sick.ask(before=blind)

    assert (found["cause"], found["summary"]) == ("unknown", "no cause is known: please report it with this")
    assert found["command"] == f"{sick.notebook.python} -m dbx_patch fingerprint"


# What is wrong with Databricks' hooks


def test_hook_that_was_imported_past_the_shim(sick: Patient) -> None:
    lab = Lab(sick.notebook)
    before = f"""
import sys
watcher, sys.meta_path[:] = sys.meta_path[0], sys.meta_path[1:]
from dbruntime.wsfs_import_hook import WsfsImportHook
sys.meta_path.insert(0, watcher)
sys.path_importer_cache[{str(sick.root)!r}] = WsfsImportHook({str(sick.root)!r}, test_prefix={str(sick.node.root)!r})
"""
    path = {"PYTHONPATH": f"{lab.folder}:{sick.notebook.environ['PYTHONPATH']}", "WSFS_TEST_DIR": str(sick.node.root)}

    found = sick.ask(before=before, environ=path)

    assert (found["cause"], found["summary"]) == (
        "hook incompatible",
        "a hook of Databricks' was imported past the shim",
    )
    assert found["command"] == "import dbx_patch; dbx_patch.patch_dbx()"
    assert found["evidence"][0].startswith(
        f"root {sick.root}: dbruntime.wsfs_import_hook.WsfsImportHook refuses it to the code of libraries"
    )
    assert sick.ask(before=before + found["command"], environ=path)["healthy"] is True


def test_hook_of_an_unknown_shape(sick: Patient) -> None:
    folder = sick.node.root / "changed/dbruntime"
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("__init__.py").touch()
    folder.joinpath("wsfs_import_hook.py").write_text(
        "class WsfsImportHook:\n    def __init__(self, path):\n        pass\n    find_spec = len\n"
    )
    before = f"""
import sys
from dbruntime.wsfs_import_hook import WsfsImportHook
class Hook(WsfsImportHook):
    def find_spec(self, name, target=None):
        return None
sys.path_importer_cache[{str(sick.root)!r}] = Hook("")
"""
    found = sick.ask(before=before, environ={"PYTHONPATH": str(folder.parent)})

    assert found["cause"] == "hook incompatible"
    assert any(
        line.startswith("dbruntime.wsfs_import_hook.WsfsImportHook.find_spec: incompatible")
        for line in found["evidence"]
    )
    assert found["command"].endswith(" -m dbx_patch fingerprint")
    assert (found["steps"][0]["kind"], found["steps"][0]["state"]) == ("hook", "stops")


# What is wrong with the shim


def test_shim_that_is_not_installed(unpatched: Patient) -> None:
    found = unpatched.ask()

    assert (found["cause"], found["summary"]) == ("shim not installed", "the start-up shim is not installed here")
    assert found["evidence"] == [f"Python reads no .pth file of {unpatched.layer} here: {unpatched.pth}"]
    stops = next(step for step in found["steps"] if step["state"] == "stops")
    assert (stops["place"], stops["detail"]) == (
        str(unpatched.root),
        f"not on sys.path, though {unpatched.pth} names it",
    )
    assert unpatched.mends(found)


def test_shim_behind_a_sitecustomize_that_came_later(patched: Patient) -> None:
    foreign = patched.node.root / "usr/lib" / patched.node.version / "sitecustomize.py"
    foreign.touch()

    found = patched.ask()

    assert (found["cause"], found["evidence"][0]) == ("shim not live", f"stands before it: {foreign}")
    assert patched.mends(found)


def test_shim_that_lost_a_part(patched: Patient) -> None:
    (part,) = patched.layer.glob("dbx_patch_sitecustomize_editables.py")
    part.unlink()
    shutil.rmtree(patched.layer / "__pycache__", ignore_errors=True)

    found = patched.ask()

    assert found["cause"] == "shim broken"
    assert "FileNotFoundError" in found["evidence"][0]
    assert patched.mends(found)


def test_shim_that_was_replaced_by_another_version_meanwhile(patched: Patient) -> None:
    part = patched.layer / "dbx_patch_sitecustomize_hooks.py"
    before = f"""
import pathlib, re, sys
part = pathlib.Path({str(part)!r})
part.write_text(re.sub("VERSION = .*", "VERSION = '9.9'", part.read_text(), 1))
sys.path.insert(0, {str(patched.node.root / "changed")!r})
import sys_path_init
import dbx_patch
"""
    folder = patched.node.root / "changed"
    folder.mkdir()
    folder.joinpath("sys_path_init.py").write_text("def patch_sys_path_with_developer_paths(): pass")
    (patched.root / "testx").rename(patched.root / "testy")  # something has to be wrong

    found = patched.ask(before=before)

    assert (found["cause"], found["summary"]) == (
        "started before",
        "the shim was replaced by another version since this process started",
    )


def test_process_that_started_before_the_shim_was_installed(unpatched: Patient) -> None:
    install = [str(unpatched.node.python), "-m", "dbx_patch.install"]

    found = unpatched.ask(before=f"import subprocess; subprocess.run({install!r}, check=True, capture_output=True)")

    assert (found["cause"], found["summary"]) == (
        "started before",
        "this process started before the shim was installed",
    )


def test_shim_that_is_turned_off(sick: Patient) -> None:
    found = sick.ask(environ=OFF)

    assert (found["cause"], found["command"]) == ("shim turned off", "unset DBX_PATCH_DISABLE")
    assert sick.mends(found | {"command": f"export DBX_PATCH_DISABLE=1; {found['command']}"})


def test_patches_that_were_removed(sick: Patient) -> None:
    remove = "import dbx_patch; dbx_patch.remove_all_patches();"

    found = sick.ask(before=remove)

    assert found["cause"] == "patches removed"
    assert sick.ask(before=remove + found["command"])["healthy"] is True


def test_python_without_site(sick: Patient) -> None:
    path = {"PYTHONPATH": ":".join(sick.notebook.layers)}

    assert sick.ask(environ=path, options=["-S"])["cause"] == "started without site"


def test_process_without_editable_installs_is_examined_itself(unpatched: Patient) -> None:
    unpatched.node.pip("uninstall", "--quiet", "--yes", "testx")
    python = ("-m", "dbx_patch", "doctor")

    sick = unpatched.node.run([unpatched.notebook.python, *python], unpatched.notebook.environ, check=False)
    assert unpatched.node.dbx_patch("dbx_patch.install").returncode == 0
    well = unpatched.node.run([unpatched.notebook.python, *python], unpatched.notebook.environ, check=False)

    assert (sick.returncode, sick.stdout.splitlines()[0]) == (
        1,
        "this process: the start-up shim is not installed here",
    )
    assert (well.returncode, well.stdout) == (
        0,
        "this process: there are no editable installs in the layers on sys.path, and nothing is wrong\n",
    )


# The doctor's manners


def test_nothing_is_imported_and_nothing_is_changed(sick: Patient) -> None:
    trap = sick.root / "sickx/__init__.py"
    trap.write_text("raise SystemExit('imported')")
    before = sick.node.snapshot()
    code = """
import sys, dbx_patch, dbx_patch._doctor
state = lambda: [list(sys.path), list(sys.meta_path), list(sys.path_hooks), sorted(sys.path_importer_cache)]
was = state()
for module in ("", "sickx", "sickx.functions", "nothing_of_that_name"):
    dbx_patch.doctor(module)
assert state() == was, (state(), was)
assert "sickx" not in sys.modules
"""
    sick.notebook.run(code, check=True)

    assert sick.node.snapshot() == before


@pytest.mark.parametrize("name", ["", " ", "a b", "..", ".a", "a.", "a-b", "\0", "a" * 100_000, "é", "class"])
def test_whatever_is_asked_is_answered_or_wrong_usage(sick: Patient, name: str) -> None:
    code = (
        f"import dbx_patch\ntry:\n    print(dbx_patch.doctor({name!r}))\nexcept ValueError as error:\n    print(error)"
    )

    assert sick.notebook.run(code, check=True).stdout


def test_odd_path_entries_do_no_harm(sick: Patient) -> None:
    before = "import sys, pathlib; sys.path[1:1] = ['', 7, None, pathlib.Path('/x'), '__editable__.x-1.finder']"

    assert sick.ask(before=before)["healthy"] is True


class Reader(html.parser.HTMLParser):
    """Reads a document as a browser does."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_picture_is_escaped_and_asks_nothing_of_anybody(sick: Patient) -> None:
    hostile = sick.node.workspace / "<script>alert(1)</script>&'\" onload=x"
    hostile.mkdir(parents=True, exist_ok=True)
    shutil.copytree(sick.project, hostile / "sickx")
    sick.pth.write_text(f"{hostile}/sickx/absent\n")
    code = """
import dbx_patch, sys
class Broken:
    def find_spec(self, name, *_):
        if name == "sickx":
            raise OSError("<script>")
sys.meta_path.append(Broken())
print(dbx_patch.doctor("sickx")._repr_html_())
"""
    picture = sick.notebook.run(code, check=True).stdout

    reader = Reader()
    reader.feed(picture)
    assert reader.open == []
    assert set(reader.tags) <= {"style", "div", "h4", "span", "code", "ul", "li", "ol", "pre", "b", "br", "small"}
    assert reader.attributes <= {"class"}
    assert not re.search(r"https?:|url\(|@import", picture)
    assert f"absent: {hostile}/sickx/absent" in reader.text
    assert "◀ stops here" in reader.text
    assert "To mend it:" in reader.text


def test_command_line_tells_and_exits(sick: Patient) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sick.notebook.python, "-m", "dbx_patch", "doctor", *arguments]
        return sick.node.run(command, sick.notebook.environ, check=False)

    assert (run("sickx").returncode, run().returncode) == (0, 0)
    found = run("sickz")
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.splitlines() == [
        f"sickz: nothing on sys.path of {sick.notebook.python} has it",
        "  there is: sickx",
        f"  To mend it: {sick.notebook.python} -m pip install -e <the folder of its project>",
    ]
    as_json = run("sickz", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["diagnoses"][0]["cause"]) == (1, "not installed")
    wrong = run("sick z")
    assert wrong.returncode == 2
    assert "'sick z' is neither a module's name nor that of a project" in wrong.stderr


def as_user_plainly() -> list[str]:
    """Write what runs a command as the user that owns nothing."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
