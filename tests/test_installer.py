"""The installer: what it changes, what it says, and that it puts everything back when the proof fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from itertools import product
from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer.shim_files import fill
from dbx_patch.sitecustomize_template import template

from tests.lab.missing import need_root
from tests.lab.node import OFF
from tests.lab.trace import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node

SHIM = "dbx_patch_sitecustomize.py"

pytestmark = pytest.mark.pythons("3.10", "3.13")  # the main job is done on each


@pytest.fixture
def ready(node: Node) -> Node:
    """A node with dbx-patch as a package in the runtime's layer, not installed as a shim yet."""
    node.install_dbx_patch()
    return node


def result(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Read what a command printed with `--json`."""
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The same, where Python itself says more as it starts."""
    return dict(json.loads(done.stdout))


def test_says_what_it_did_and_where_it_is(ready: Node) -> None:
    layer = ready.layer(ready.root / "databricks/python3")
    library = ready.root / "usr/lib" / ready.version / "sitecustomize.py"
    before = result(ready.dbx_patch("dbx_patch", "status", "--json"))
    assert (before["live"], before["slot"], before["file"], before["version"]) == (False, None, None, None)

    installed = result(ready.dbx_patch("dbx_patch.install", "--json"))

    slot = 2 if ready.has_sitecustomize else 1
    host = library if ready.has_sitecustomize else layer / "sitecustomize.py"
    assert (installed["slot"], installed["file"], installed["host"]) == (slot, str(layer / SHIM), str(host))
    done = ready.dbx_patch("dbx_patch", "status", "--json")
    status = result(done)
    assert done.returncode == 0
    assert (status["live"], status["slot"], status["shadowed_by"]) == (True, slot, None)
    assert status["file"] == str(layer / SHIM)
    assert status["version"] == installed["version"]
    assert status["hooks"] == dict.fromkeys(template.HOOKS, "armed")
    assert before["hooks"] == dict.fromkeys(template.HOOKS, "")
    assert "  sys_path_init: armed\n" in ready.dbx_patch("dbx_patch", "status").stdout


def test_second_install_changes_nothing_and_says_so(ready: Node) -> None:
    ready.dbx_patch("dbx_patch.install")
    before = ready.snapshot()

    done = ready.dbx_patch("dbx_patch.install")

    assert done.returncode == 0
    assert "already installed" in done.stdout
    assert ready.snapshot() == before
    assert result(ready.dbx_patch("dbx_patch.install", "--json"))["changed"] == []


def test_uninstalling_twice_has_nothing_to_do(ready: Node) -> None:
    before = ready.snapshot()
    ready.dbx_patch("dbx_patch.install")
    ready.dbx_patch("dbx_patch.uninstall")
    assert ready.snapshot() == before

    done = ready.dbx_patch("dbx_patch.uninstall")

    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert ready.snapshot() == before


def test_status_names_the_command_that_installs(ready: Node) -> None:
    """For an interpreter that lacks the package as well: the one that has it is named."""
    python = str(ready.cluster_libraries / "bin/python")

    done = ready.dbx_patch("dbx_patch", "status", "--python", python)

    assert done.returncode == 1
    command = done.stdout.splitlines()[0].partition("To install it: ")[2]
    assert ready.run(["sh", "-c", command]).returncode == 0
    assert ready.dbx_patch("dbx_patch", "status", "--python", python).returncode == 0


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_every_user_may_read_what_only_its_owner_may_write(ready: Node, umask: int) -> None:
    command = f"umask {umask:03o}; exec '{ready.python}' -m dbx_patch.install --json"

    changed = [ready.root / file for file in result(ready.run(["sh", "-c", command]))["changed"]]  # type: ignore[attr-defined]

    assert [file.suffix for file in changed].count(".pyc") >= 2
    for file in changed:
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("damage", [False, True])
def test_byte_code_is_cached_and_used(ready: Node, damage: bool) -> None:  # noqa: FBT001
    """Else every start of a user who may not write there would compile the files."""
    ready.dbx_patch("dbx_patch.install")
    if damage:
        for byte_code in ready.layer(ready.runtime).glob("__pycache__/dbx_patch_sitecustomize*.pyc"):
            byte_code.write_bytes(b"of another time")
        ready.dbx_patch("dbx_patch.install")

    done = ready.run([ready.python, "-v", "-c", "import dbx_patch_sitecustomize as shim; shim.load('hooks')"])

    loaded = [line for line in done.stderr.splitlines() if "code object from " in line and "sitecustomize" in line]
    assert len(loaded) == 4
    assert all(line.endswith(".pyc'") for line in loaded)


@pytest.mark.parametrize("content", [None, b"", b"def ("], ids=["missing", "empty", "broken"])
def test_damaged_shim_is_told_and_mended_or_removed(ready: Node, content: bytes | None) -> None:
    before = ready.snapshot()
    ready.dbx_patch("dbx_patch.install")
    shim = ready.layer(ready.runtime).resolve() / SHIM

    for mend in ("dbx_patch.install", "dbx_patch.uninstall"):
        shim.unlink() if content is None else shim.write_bytes(content)
        status = result(ready.dbx_patch("dbx_patch", "status", "--json"))
        assert (status["live"], status["file"], status["version"]) == (False, str(shim), None)
        assert "missing or broken" in ready.dbx_patch("dbx_patch", "status").stdout
        assert ready.dbx_patch(mend).returncode == 0
        live = ready.dbx_patch("dbx_patch", "status").returncode == 0
        assert live == (mend == "dbx_patch.install")

    assert ready.snapshot() == before


def set_version(files: list[Path], version: str) -> None:
    """Make the files of a shim those of another version."""
    for file in files:
        file.write_bytes(fill(file.read_text(), {"VERSION": version}))


def shim_files(node: Node) -> list[Path]:
    """List the files of the runtime's shim."""
    return sorted(node.layer(node.runtime).resolve().glob("dbx_patch_sitecustomize*.py"))


def test_older_version_is_replaced(ready: Node) -> None:
    ready.dbx_patch("dbx_patch.install")
    new = [file.read_bytes() for file in shim_files(ready)]
    set_version(shim_files(ready), "0.0.10")
    assert result(ready.dbx_patch("dbx_patch", "status", "--json"))["version"] == "0.0.10"

    changed = result(ready.dbx_patch("dbx_patch.install", "--json"))["changed"]

    # Not their byte code, where all this takes less than a second: it is the same again.
    assert {str(file) for file in shim_files(ready)} <= set(changed)  # type: ignore[call-overload]
    assert [file.read_bytes() for file in shim_files(ready)] == new
    assert ready.dbx_patch("dbx_patch", "status").returncode == 0


def test_newer_version_is_kept_but_by_force(ready: Node) -> None:
    ready.dbx_patch("dbx_patch.install")
    old = ready.snapshot()
    set_version(shim_files(ready), "99.0")
    before = ready.snapshot()

    kept = ready.dbx_patch("dbx_patch.install")

    assert (kept.returncode, kept.stderr) == (0, "")
    assert "is newer than" in kept.stdout
    assert "--force" in kept.stdout
    assert ready.snapshot() == before
    assert ready.dbx_patch("dbx_patch.install", "--force").returncode == 0
    assert contents(ready.snapshot()) == contents(old)


@pytest.mark.parametrize("version", ["0.0.1", "99.0", "not a version"])
def test_uninstalls_what_any_version_has_installed(ready: Node, version: str) -> None:
    before = ready.snapshot()
    ready.dbx_patch("dbx_patch.install")
    set_version(shim_files(ready), version)
    (ready.root / ".local/state/dbx-patch/receipts.json").unlink()

    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0

    assert ready.snapshot() == before


def contents(snapshot: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Leave the times out of a snapshot, and byte code, which holds one."""
    return {name: facts[:4] for name, facts in snapshot.items() if not name.endswith(".pyc")}


@pytest.mark.parametrize("which", [0, 1, 2])
def test_shim_that_was_edited_by_hand_is_overwritten_but_by_force(ready: Node, which: int) -> None:
    ready.dbx_patch("dbx_patch.install")
    file = shim_files(ready)[which]
    file.write_text(file.read_text() + "# mine\n")
    before = ready.snapshot()

    done = ready.dbx_patch("dbx_patch.install")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file.name} was edited by hand; nothing was changed" in done.stderr
    assert ready.snapshot() == before
    assert ready.dbx_patch("dbx_patch.install", "--force").returncode == 0
    assert not file.read_text().endswith("# mine\n")
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert shim_files(ready) == []


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_dry_run_tells_what_would_be_changed_and_changes_nothing(ready: Node, command: str) -> None:
    if command == "uninstall":
        ready.dbx_patch("dbx_patch.install")
    before = ready.snapshot()

    told = ready.dbx_patch(f"dbx_patch.{command}", "--dry-run")
    told_json = result(ready.dbx_patch(f"dbx_patch.{command}", "--dry-run", "--json"))

    assert ready.snapshot() == before
    done = result(ready.dbx_patch(f"dbx_patch.{command}", "--json"))
    assert done["changed"] == told_json["changed"] != []
    assert [line.strip() for line in told.stdout.splitlines()[1:]] == done["changed"]


def test_installers_at_the_same_time_do_each_their_work(ready: Node) -> None:
    """Two nodes, or two notebooks, may install into one shared folder."""
    before = ready.snapshot()
    pythons = [str(ready.python), str(ready.cluster_libraries / "bin/python")]

    for command in ("install", "uninstall"):
        running = [
            subprocess.Popen(
                [str(ready.python), "-m", f"dbx_patch.{command}", "--python", python],
                env=ready.environ(),
                cwd=ready.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for python in pythons * 3
        ]
        outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
        assert outcomes == [(b"", 0)] * len(running)
        for python in pythons:
            live = result(ready.dbx_patch("dbx_patch", "status", "--json", "--python", python))["live"]
            assert live == (command == "install")

    assert ready.snapshot() == before


def test_what_a_killed_installer_has_left_is_cleared(ready: Node) -> None:
    left = ready.layer(ready.runtime) / ".dbx-patch-abc123"
    left.write_text("half a file")

    ready.dbx_patch("dbx_patch.install")

    assert not left.exists()


def test_several_interpreters_are_told_one_by_one(ready: Node) -> None:
    other = str(ready.cluster_libraries / "bin/python")
    absent = str(ready.root / "absent")
    named = ["--python", str(ready.python), "--python", absent, "--python", other]

    done = ready.dbx_patch("dbx_patch.install", "--json", *named)

    results = json.loads(done.stdout)
    assert done.returncode == 1
    assert [entry.get("python") for entry in results] == [str(ready.python), None, other]
    assert absent in results[1]["error"]


def test_every_interpreter_of_a_node_is_found_once(ready: Node) -> None:
    notebook = ready.make_notebook()
    (ready.root / "usr/lib" / ready.version / "site-packages").mkdir()
    code = (
        "import json, os, pathlib, sys; from dbx_patch.installer import find_interpreters;"
        " environ = {'PYSPARK_PYTHON': sys.argv[2], 'DATABRICKS_ROOT_VIRTUALENV_ENV': sys.argv[3]};"
        " print(json.dumps(find_interpreters(pathlib.Path(sys.argv[1]), environ)))"
    )
    runtime = ready.root / "databricks/python3"
    arguments = [ready.root, runtime / "bin/python3", runtime]

    found, left_out = json.loads(ready.run([ready.python, "-c", code, *arguments]).stdout)

    assert left_out == []
    assert found == [
        str(runtime / "bin/python"),
        str(ready.cluster_libraries / "bin/python"),
        str(notebook.python),
        str(ready.base),
    ]
    if os.geteuid() == 0:
        os.chown(ready.cluster_libraries / "bin", 1234, 1234)
        found, left_out = json.loads(ready.run([ready.python, "-c", code, *arguments]).stdout)
        python = ready.cluster_libraries / "bin/python"
        assert str(python) not in found
        assert left_out == [f"{python}: others than its owner may change {python.parent}"]


def test_all_is_every_interpreter_that_the_environment_or_a_receipt_names(ready: Node) -> None:
    runtime, libraries = ready.root / "databricks/python3/bin/python", ready.cluster_libraries / "bin/python"
    (ready.root / "usr/lib" / ready.version / "site-packages").mkdir()  # of a base that is Debian's own
    before = ready.snapshot()
    ready.dbx_patch("dbx_patch.install", "--python", str(libraries))
    named = {"DATABRICKS_ROOT_VIRTUALENV_ENV": str(runtime.parent.parent), "PYSPARK_PYTHON": str(runtime)}

    for command in ("install", "uninstall"):
        done = ready.run([ready.python, "-m", f"dbx_patch.{command}", "--all", "--json"], named)
        assert [entry["python"] for entry in json.loads(done.stdout)] == [
            str(runtime),
            str(libraries),
            str(ready.base),
        ]
        for python in (runtime, libraries, ready.base):
            status = result(ready.dbx_patch("dbx_patch", "status", "--json", "--python", str(python)))
            assert status["live"] == (command == "install")

    assert ready.snapshot() == before


def test_interpreter_without_a_layer_is_left_out_and_refused(ready: Node) -> None:
    before = ready.snapshot()
    named = {"PYSPARK_PYTHON": str(ready.base)}

    everywhere = ready.run([ready.python, "-m", "dbx_patch.install", "--all", "--dry-run"], named, check=False)
    there = ready.dbx_patch("dbx_patch.install", "--python", str(ready.base))

    layer = ready.root / "usr/lib" / ready.version / "site-packages"
    assert f"left out: {ready.base}: it has no site-packages, {layer} is not there\n" in everywhere.stderr
    assert (there.returncode, there.stdout) == (1, "")
    assert f"{layer} is not there. Nothing was changed." in there.stderr
    assert ready.snapshot() == before


@pytest.mark.parametrize("content", ["[]", "{", '{"format": 2}', '{"format": 1, "installations": {"x": 1, "y": {}}}'])
def test_receipts_that_are_no_good_do_no_harm(ready: Node, content: str) -> None:
    before = ready.snapshot()
    ready.dbx_patch("dbx_patch.install")
    receipts = ready.root / ".local/state/dbx-patch/receipts.json"
    (written,) = json.loads(receipts.read_text())["installations"].values()
    assert written["python"] == str(ready.python)
    receipts.write_text(content)

    assert ready.dbx_patch("dbx_patch.install").returncode == 0
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0

    after = ready.snapshot()
    if '"format": 2' in content:  # of a newer version, which needs it
        assert receipts.read_text() == content
    else:
        assert after == before


def test_ten_rounds_leave_nothing_behind(ready: Node) -> None:
    before = ready.snapshot()
    libraries = str(ready.cluster_libraries / "bin/python")

    for _ in range(10):
        for arguments in (["dbx_patch.install"], ["dbx_patch.install", "--python", libraries]):
            assert ready.dbx_patch(*arguments).returncode == 0
        set_version(shim_files(ready), "0.0.1")
        for arguments in (["install"], ["uninstall"], ["uninstall", "--python", libraries]):
            assert ready.dbx_patch("dbx_patch", *arguments).returncode == 0
        assert ready.snapshot() == before


def test_another_implementation_gets_one_line(ready: Node) -> None:
    pypy = require("pypy3")

    done = ready.dbx_patch("dbx_patch.install", "--python", pypy)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {pypy} is pypy 3.")
    assert done.stderr.endswith("dbx-patch supports CPython 3.9 and newer.\n")


def test_python_that_is_too_old_gets_one_line(ready: Node) -> None:
    """A stand-in: there is none on most machines. It says of itself what an old one does."""
    folder = ready.root / "old"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 8, 20, 'final', 0)\n")
    old = folder / "python"
    old.write_text(f"#!/bin/sh\nPYTHONPATH='{folder}' exec '{ready.base}' \"$@\"\n")
    old.chmod(0o755)

    done = ready.dbx_patch("dbx_patch.install", "--python", str(old))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {old} is cpython 3.8.20; dbx-patch supports CPython 3.9 and newer.\n"


@pytest.mark.pythons("3.12")
def test_proof_is_made_with_virtualenv_as_well_where_it_is(ready: Node) -> None:
    ready.pip("install", "--quiet", "virtualenv")
    before = ready.snapshot()
    log = ready.root / "log"

    ready.run([require("strace"), "-f", "-qq", "-e", "execve", "-o", log, ready.python, "-m", "dbx_patch.install"])

    started = re.findall(r'execve\("[^"]+/(venv|virtualenv)(---system-site-packages)?/bin/python"', log.read_text())
    assert set(started) == set(product(("venv", "virtualenv"), ("", "---system-site-packages")))
    log.unlink()
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert ready.snapshot() == before


@pytest.mark.parametrize("folder", ["python_shell", "spark/python"])
def test_sitecustomize_on_the_kernel_s_own_path_is_extended_as_well(ready: Node, folder: str) -> None:
    """It stands before every other in a notebook, and there alone."""
    file = ready.root / "databricks" / folder / "sitecustomize.py"
    file.write_text("databricks_was_here = True\n")
    before = ready.snapshot()

    assert ready.dbx_patch("dbx_patch.install").returncode == 0

    code = (
        "import sys, sitecustomize; print(sitecustomize.databricks_was_here, 'dbx_patch_sitecustomize' in sys.modules)"
    )
    assert ready.make_notebook().run(code, check=True).stdout == "True True\n"
    assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
    shutil.rmtree(ready.root / "local_disk0/.ephemeral_nfs/envs")
    assert ready.snapshot() == before


def test_folder_names_of_every_kind(ready: Node) -> None:
    environment = ready.root / 'it\'s a "folder" \\ {of} gr\u00fc\u00dfe'
    ready.run([ready.python, "-m", "venv", "--without-pip", environment])
    before = ready.snapshot()

    done = ready.dbx_patch("dbx_patch.install", "--json", "--python", str(environment / "bin/python"))

    assert done.returncode == 0, done.stdout
    assert result(done)["file"] == str(ready.layer(environment) / SHIM)
    assert ready.dbx_patch("dbx_patch.uninstall", "--python", str(environment / "bin/python")).returncode == 0
    assert ready.snapshot() == before


def test_without_a_proof_nothing_is_installed(ready: Node) -> None:
    """As where Debian's python3-venv is missing: no notebook environment, and so nothing seen alive in one."""
    (ready.root / "usr/lib" / ready.version / "venv/__main__.py").unlink()
    before = ready.snapshot()

    done = ready.dbx_patch("dbx_patch.install", "--json")

    assert done.returncode == 1
    assert "can't make a notebook environment" in json.loads(done.stdout)["error"]
    assert ready.snapshot() == before


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_uninstalling_where_another_environment_brings_the_shim_says_so(installed: Node) -> None:
    notebook = installed.make_notebook()
    command = [notebook.python, "-m", "dbx_patch.uninstall"]

    done = installed.run(command, notebook.environ)

    assert "nothing to do" in done.stdout
    assert f"{installed.layer(installed.root / 'databricks/python3') / SHIM} runs there as well" in done.stdout


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
class TestForeign:
    """With somebody else's `sitecustomize` in the standard library."""

    def foreign(self, node: Node) -> Path:
        return node.root / "etc" / node.version / "sitecustomize.py"

    def test_runs_as_before_and_keeps_its_link_owner_mode_and_time(self, ready: Node) -> None:
        foreign = self.foreign(ready)
        foreign.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(foreign, 1234, 2345)
        before = foreign.stat()

        assert ready.dbx_patch("dbx_patch.install").returncode == 0

        after = foreign.stat()
        kept = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        assert (ready.root / "usr/lib" / ready.version / "sitecustomize.py").is_symlink()
        code = "import sitecustomize, sys; print(sitecustomize.a_distribution_was_here, sitecustomize.__file__)"
        ours = "print('dbx_patch_sitecustomize' in sys.modules, '_dbx_patch' in vars(sitecustomize))"
        done = ready.run([ready.python, "-c", f"{code}; {ours}"])
        assert done.stdout.split() == [
            "True",
            f"{ready.root}/usr/lib/{ready.version}/sitecustomize.py",
            "True",
            "False",
        ]

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"a = 1", id="no newline at the end"),
            pytest.param(b"a = 1\r\nb = 2\r\n", id="CRLF"),
            pytest.param(b"# coding: latin-1\na = '\xe9'\n", id="Latin-1"),
            pytest.param(b"", id="empty"),
            pytest.param(b"\xef\xbb\xbfa = 1\n", id="signature"),
            pytest.param(b"if True:\n    a = 1\n    ", id="blanks at the end"),
        ],
    )
    def test_comes_back_byte_for_byte(self, ready: Node, content: bytes) -> None:
        self.foreign(ready).write_bytes(content)
        before = ready.snapshot()

        assert ready.dbx_patch("dbx_patch.install").returncode == 0
        assert self.foreign(ready).read_bytes().startswith(content)
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0

        assert ready.snapshot() == before

    def test_an_edit_made_meanwhile_survives(self, ready: Node) -> None:
        ready.dbx_patch("dbx_patch.install")
        content = self.foreign(ready).read_text()
        self.foreign(ready).write_text(f"first = 1\n{content}last = 1\n")

        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0

        rest = self.foreign(ready).read_text()
        assert rest.startswith("first = 1\n")
        assert rest.endswith("last = 1\n")
        assert "dbx" not in rest

    def test_lines_deleted_by_hand_leave_nothing_behind(self, ready: Node) -> None:
        """Or by a package manager that puts its own file back."""
        before = ready.snapshot()
        content = self.foreign(ready).read_bytes()
        ready.dbx_patch("dbx_patch.install")
        self.foreign(ready).write_bytes(content)

        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0

        after = {name: facts for name, facts in ready.snapshot().items() if not name.startswith("etc/")}
        assert after == {name: facts for name, facts in before.items() if not name.startswith("etc/")}
        assert self.foreign(ready).read_bytes() == content

    @pytest.mark.parametrize("last", ["def (", "raise RuntimeError", "\0"])
    def test_where_it_keeps_ours_from_running_a_pth_file_loads_it(self, ready: Node, last: str) -> None:
        with self.foreign(ready).open("a") as file:
            file.write(f"{last}\n")
        before = ready.snapshot()

        done = ready.dbx_patch("dbx_patch.install")

        assert done.returncode == 0
        assert "good for this environment alone" in done.stdout
        status = result_of(ready.dbx_patch("dbx_patch", "status", "--json"))
        assert (status["live"], status["slot"]) == (True, 3)
        assert self.foreign(ready).read_text().endswith(f"{last}\n")
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 0
        assert ready.snapshot() == before

    def test_two_environments_over_one_interpreter(self, ready: Node) -> None:
        """Each has its own lines in the file; the one that stays keeps running when the other goes."""
        before = ready.snapshot()
        other = str(ready.cluster_libraries / "bin/python")

        ready.dbx_patch("dbx_patch.install")
        assert ready.dbx_patch("dbx_patch.install", "--python", other).returncode == 0
        assert self.foreign(ready).read_text().count(">>> dbx-patch >>>") == 2
        ready.dbx_patch("dbx_patch.uninstall")

        status = result(ready.dbx_patch("dbx_patch", "status", "--json", "--python", other))
        assert status["live"]
        assert str(status["file"]).startswith(str(ready.layer(ready.cluster_libraries)))
        ready.dbx_patch("dbx_patch.uninstall", "--python", other)
        assert ready.snapshot() == before

    def test_one_that_appears_later_is_extended_by_the_next_install(self, ready: Node) -> None:
        link = ready.root / "usr/lib" / ready.version / "sitecustomize.py"
        link.rename(link.with_suffix(".away"))
        ready.dbx_patch("dbx_patch.install")
        link.with_suffix(".away").rename(link)
        shadowed = result(ready.dbx_patch("dbx_patch", "status", "--json"))
        assert (shadowed["live"], shadowed["slot"], shadowed["shadowed_by"]) == (False, 1, str(link))

        assert result(ready.dbx_patch("dbx_patch.install", "--json"))["slot"] == 2

        assert result(ready.dbx_patch("dbx_patch", "status", "--json"))["slot"] == 2
        assert not (ready.layer(ready.runtime) / "sitecustomize.py").exists()


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
class TestCommandLine:
    """What a person and a script see."""

    @pytest.mark.parametrize("command", ["install", "uninstall", "status"])
    def test_an_interpreter_that_is_none_gets_one_line(self, installed: Node, tmp_path: Path, command: str) -> None:
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n")
        broken.chmod(0o755)
        for python in (str(tmp_path / "absent"), str(broken), "/dev/null"):
            done = installed.dbx_patch("dbx_patch", command, "--python", python)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
            assert python in done.stderr
            done = installed.dbx_patch("dbx_patch", command, "--json", "--python", python)
            assert (done.returncode, done.stderr) == (1, "")
            assert python in json.loads(done.stdout)["error"]

    @pytest.mark.parametrize("arguments", [[], ["instal"], ["install", "--pyhton", "x"], ["install", "extra"]])
    def test_wrong_usage_exits_with_2(self, installed: Node, arguments: list[str]) -> None:
        done = installed.dbx_patch("dbx_patch", *arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: python -m dbx_patch" in done.stderr

    def test_console_script_is_the_same(self, installed: Node) -> None:
        script = installed.runtime / "bin/dbx-patch"

        by_script = installed.run([script, "status", "--json"])

        assert by_script.stdout == installed.dbx_patch("dbx_patch", "status", "--json").stdout
        assert installed.run([script, "--help"]).stdout.startswith("usage: dbx-patch ")

    def test_status_shows_the_layers_and_their_editable_installs(self, installed: Node) -> None:
        notebook = installed.make_notebook()
        command = [notebook.python, "-m", "dbx_patch", "status", "--json"]

        status = result(installed.run(command, notebook.environ))

        layers: list[dict[str, object]] = status["layers"]  # type: ignore[assignment]
        assert [layer["path"] for layer in layers] == notebook.layers[:-1]  # .python_edge_libs is none by its name
        assert [layer["opened_by_site"] for layer in layers] == [True, False, False, False, False]
        editables = {str(layer["path"]): layer["editables"] for layer in layers}
        assert [entry["root"] for entry in editables[notebook.layers[2]]] == [str(installed.project("testx") / "src")]  # type: ignore[attr-defined]
        assert [editables[path] for path in notebook.layers[:-1] if path != notebook.layers[2]] == [[], [], [], []]

    def test_status_is_told_to_people_as_well(self, installed: Node) -> None:
        done = installed.dbx_patch("dbx_patch", "status")
        off = installed.run([installed.python, "-m", "dbx_patch", "status"], OFF, check=False)

        assert (done.returncode, off.returncode) == (0, 1)
        assert " is live in " in done.stdout
        assert "__editable__.testx-0.1.0.pth: " in done.stdout
        assert "turned off by DBX_PATCH_DISABLE" in off.stdout

    def test_who_may_not_write_there_is_told_so_and_changes_nothing(self, ready: Node) -> None:
        need_root("become another user")
        ready.open_to_all()
        before = ready.snapshot()
        run = f"os.execv('{ready.python}', ['{ready.python}', '-m', 'dbx_patch.install'])"
        command = f"import os; os.setgid(65534); os.setuid(65534); {run}"

        done = ready.run([ready.base, "-c", command], check=False)

        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "can't be written to" in done.stderr
        assert "Nothing was installed" in done.stderr
        assert f"As root it may work: sudo {ready.python} -m dbx_patch.install. " in done.stderr
        assert "dbx_patch.patch_dbx()" in done.stderr
        assert ready.snapshot() == before
