"""The installer on a node: what it changes, what it reports, and that it restores everything when it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch.sitecustomize_template import SHIM, template
from tests.lab.disks import immutable
from tests.lab.missing import need_root
from tests.lab.node import OFF
from tests.lab.older import make_older
from tests.lab.trace import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node

pytestmark = pytest.mark.one_python  # most of it is work on files, which no Python changes
foreign_only = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
own_only = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
"""For what does not depend on whether there is a foreign `sitecustomize`."""

DESCRIBE_START = """\
import json, sys
theirs = sys.modules.get("sitecustomize")
print(json.dumps({
    "shim is live": "dbx_patch_sitecustomize" in sys.modules,
    "foreign sitecustomize ran": hasattr(theirs, "a_distribution_was_here"),
    "sitecustomize": getattr(theirs, "__file__", None),
    "names left in it": [name for name in vars(theirs) if "dbx" in name],
}))
"""
DESCRIBE_IMPORT = """\
import importlib.util, json, sys
shim = sys.modules["dbx_patch_sitecustomize"]
print(json.dumps({
    "version": shim.VERSION,
    "imported": importlib.util.find_spec("testx") is not None,
    "journal": [": ".join(event) for event in shim.journal],
}))
"""
RUN_AND_IMPORT = """\
import json, os, subprocess, sys
shim = sys.modules["dbx_patch_sitecustomize"]
environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
codes = [subprocess.run(command, env=environ, stdout=subprocess.DEVNULL).returncode for command in commands]
try:
    import sys_path_init  # a hook's module, which this node lacks
except Exception as error:
    failing = f"{type(error).__name__}: {error}"
import testx
print(json.dumps({
    "version": shim.VERSION,
    "commands": codes,
    "failing import": failing,
    "part missing": any(event[0] == "part unusable" for event in shim.journal),
    "editable": testx.__file__.endswith("/src/testx/__init__.py"),
}))
"""


@pytest.fixture
def ready(node: Node) -> Node:
    """A node with dbx-patch as a package in the runtime's layer; the shim is not installed yet."""
    node.install_dbx_patch()
    return node


def parse(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a command printed with `--json`, if it printed nothing else."""
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def get_status(node: Node, python: Path | None = None) -> dict[str, Any]:
    """Return what `dbx-patch status` reports, for the runtime's Python or another."""
    about = ["--python", str(python)] if python else []
    return dict(json.loads(node.dbx_patch("dbx_patch", "status", "--json", *about).stdout))


def run_and_check(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m dbx_patch.…` and check that it succeeds."""
    done = node.dbx_patch(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def list_shim_files(node: Node) -> list[Path]:
    """List the files of the runtime's shim."""
    return sorted(node.layer(node.runtime).resolve().glob("dbx_patch_sitecustomize*.py"))


def set_version(node: Node, version: str) -> None:
    """Make the runtime's shim another version's."""
    make_older(node.layer(node.runtime).resolve(), version)


def without_times(snapshot: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Return a snapshot without times, and without byte code, which holds one."""
    return {name: facts[:4] for name, facts in snapshot.items() if not name.endswith(".pyc")}


def without_byte_code(files: list[str]) -> list[str]:
    return [file for file in files if ".pyc" not in file]


@pytest.mark.oldest_and_newest
def test_install_and_uninstall_report_what_they_change(ready: Node) -> None:
    layer = ready.layer(ready.root / "databricks/python3")
    library = ready.root / "usr/lib" / ready.version / "sitecustomize.py"
    slot, loader = (2, library) if ready.has_sitecustomize else (1, layer / "sitecustomize.py")
    before = ready.snapshot()
    status = get_status(ready)
    assert (status["live"], status["slot"], status["file"], status["version"]) == (False, None, None, None)
    assert status["hooks"] == dict.fromkeys(template.HOOKS, "")

    shown = run_and_check(ready, "dbx_patch.install", "--dry-run").stdout
    planned = parse(ready.dbx_patch("dbx_patch.install", "--dry-run", "--json"))
    assert ready.snapshot() == before
    installed = parse(ready.dbx_patch("dbx_patch.install", "--json"))
    assert installed["changed"] == planned["changed"] != []
    assert [line.strip() for line in shown.splitlines()[1:]] == without_byte_code(installed["changed"])
    assert (installed["slot"], installed["file"], installed["loader"]) == (slot, str(layer / SHIM), str(loader))

    status = parse(run_and_check(ready, "dbx_patch", "status", "--json"))
    assert (status["live"], status["slot"], status["shadowed_by"]) == (True, slot, None)
    assert (status["file"], status["version"]) == (str(layer / SHIM), installed["version"])
    assert status["hooks"] == dict.fromkeys(template.HOOKS, "armed")

    present = ready.snapshot()
    again = run_and_check(ready, "dbx_patch.install")
    assert "is already installed" in again.stdout
    assert parse(ready.dbx_patch("dbx_patch.install", "--json"))["changed"] == []
    planned = parse(ready.dbx_patch("dbx_patch.uninstall", "--dry-run", "--json"))
    assert ready.snapshot() == present

    assert parse(ready.dbx_patch("dbx_patch.uninstall", "--json"))["changed"] == planned["changed"] != []
    assert ready.snapshot() == before
    assert "nothing to do" in run_and_check(ready, "dbx_patch.uninstall").stdout
    assert ready.snapshot() == before


@own_only
def test_status_names_a_command_that_installs(ready: Node) -> None:
    """Also for an interpreter that lacks the package: it is run by the one that has it."""
    python = ready.cluster_libraries / "bin/python"

    done = ready.dbx_patch("dbx_patch", "status", "--python", str(python))

    assert done.returncode == 1
    found = re.search("^Fix: run `(.*)`[.]$", done.stdout, re.MULTILINE)
    assert found is not None
    assert ready.run(["sh", "-c", found[1]]).returncode == 0
    assert get_status(ready, python)["live"]


@own_only
def test_every_user_can_read_what_only_its_owner_can_write(ready: Node) -> None:
    for umask in ("000", "077"):
        command = f"umask {umask}; exec '{ready.python}' -m dbx_patch.install --json"
        changed = [ready.root / file for file in parse(ready.run(["sh", "-c", command]))["changed"]]

        assert [file.suffix for file in changed].count(".pyc") >= 2
        for file in changed:
            assert stat.S_IMODE(file.stat().st_mode) == 0o644
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
        run_and_check(ready, "dbx_patch.uninstall")


@pytest.mark.oldest_and_newest
def test_byte_code_is_cached_used_and_replaced_when_stale(ready: Node) -> None:
    """Otherwise each start of a user who can't write there compiles the files."""

    def list_loaded() -> list[str]:
        done = ready.run([ready.python, "-v", "-c", "import dbx_patch_sitecustomize as shim; shim.load('hooks')"])
        loaded = [line for line in done.stderr.splitlines() if "code object from " in line and "sitecustomize" in line]
        return [line.rpartition(".")[2] for line in loaded]

    run_and_check(ready, "dbx_patch.install")
    assert list_loaded() == ["pyc'"] * 4

    for byte_code in ready.layer(ready.runtime).glob("__pycache__/dbx_patch_sitecustomize*.pyc"):
        byte_code.write_bytes(b"of another time")
    assert "pyc'" not in list_loaded()[1:]
    run_and_check(ready, "dbx_patch.install")
    assert list_loaded() == ["pyc'"] * 4


@pytest.mark.matrix
@foreign_only
def test_damaged_shim_is_reported_and_repaired_or_removed(ready: Node) -> None:
    before = ready.snapshot()
    shim = ready.layer(ready.runtime).resolve() / SHIM
    for content in (None, b"", b"def ("):
        run_and_check(ready, "dbx_patch.install")

        shim.unlink() if content is None else shim.write_bytes(content)
        status = get_status(ready)
        assert (status["live"], status["file"], status["version"]) == (False, str(shim), None)
        run_and_check(ready, "dbx_patch.install")
        assert get_status(ready)["live"]

        shim.unlink() if content is None else shim.write_bytes(content)
        run_and_check(ready, "dbx_patch.uninstall")
        assert ready.snapshot() == before


@own_only
def test_older_version_is_replaced_and_a_newer_one_is_kept_without_force(ready: Node) -> None:
    run_and_check(ready, "dbx_patch.install")
    current = ready.snapshot()

    set_version(ready, "0.0.10")
    assert get_status(ready)["version"] == "0.0.10"
    changed = parse(ready.dbx_patch("dbx_patch.install", "--json"))["changed"]
    # Byte code is the same again if all this takes less than a second.
    assert {str(file) for file in list_shim_files(ready)} <= set(changed)
    assert without_times(ready.snapshot()) == without_times(current)
    assert get_status(ready)["live"]

    set_version(ready, "99.0")
    newer = ready.snapshot()
    kept = run_and_check(ready, "dbx_patch.install")
    assert kept.stderr == ""
    assert "It is newer than this version" in kept.stdout
    assert ready.snapshot() == newer
    run_and_check(ready, "dbx_patch.install", "--force")
    assert without_times(ready.snapshot()) == without_times(current)


@pytest.mark.oldest_and_newest
@foreign_only
def test_python_that_runs_while_the_shim_is_upgraded_and_uninstalled_goes_on(ready: Node) -> None:
    """It keeps its editable installs. What needs a part that it has not loaded behaves as without the shim."""
    ready.install_editable(ready.copy_project("testx"))
    run_and_check(ready, "dbx_patch.install")
    make_older(ready.layer(ready.runtime).resolve())
    commands = [[ready.python, "-m", f"dbx_patch.{name}"] for name in ("install", "uninstall")]

    answer = ready.make_notebook().ask(
        f"commands = {[list(map(str, command)) for command in commands]}\n{RUN_AND_IMPORT}"
    )

    assert answer == {
        "version": "0.0.1",
        "commands": [0, 0],
        "failing import": "ModuleNotFoundError: No module named 'sys_path_init'",
        "part missing": True,
        "editable": True,
    }


@pytest.mark.oldest_and_newest
@pytest.mark.matrix
@foreign_only
def test_every_python_that_starts_during_an_upgrade_has_the_editable_installs(ready: Node) -> None:
    """It reads the shim of the former version or of the new one, and finds that version's parts."""
    ready.install_editable(ready.copy_project("testx"))
    run_and_check(ready, "dbx_patch.install")
    notebook = ready.make_notebook()
    answers: list[dict[str, Any]] = []
    upgrading = threading.Event()

    def start_pythons() -> None:
        while upgrading.is_set():
            answers.append(notebook.ask(DESCRIBE_IMPORT))

    for _ in range(3):
        make_older(ready.layer(ready.runtime).resolve())
        upgrading.set()
        starters = [threading.Thread(target=start_pythons) for _ in range(2)]
        for starter in starters:
            starter.start()
        changed = parse(ready.dbx_patch("dbx_patch.install", "--json"))["changed"]
        upgrading.clear()
        for starter in starters:
            starter.join()
        assert changed

    versions = Counter(answer["version"] for answer in answers)
    print(f"Pythons that started, by the shim's version: {dict(versions)}")
    assert [answer for answer in answers if not answer["imported"]] == []
    assert min(versions["0.0.1"], versions[template.VERSION]) > 5


def test_what_any_version_installed_is_uninstalled(ready: Node) -> None:
    before = ready.snapshot()
    for version in ("0.0.1", "99.0", "not a version"):
        run_and_check(ready, "dbx_patch.install")
        set_version(ready, version)
        (ready.root / ".local/state/dbx-patch/receipts.json").unlink()

        run_and_check(ready, "dbx_patch.uninstall")

        shutil.rmtree(ready.root / ".local", ignore_errors=True)
        assert ready.snapshot() == before


@own_only
def test_shim_that_was_edited_by_hand_is_overwritten_only_by_force(ready: Node) -> None:
    run_and_check(ready, "dbx_patch.install")
    files = list_shim_files(ready)
    for file in files:
        text, status = file.read_text(), file.stat()
        file.write_text(f"{text}# mine\n")
        before = ready.snapshot()

        done = ready.dbx_patch("dbx_patch.install")

        assert (done.returncode, done.stdout) == (1, "")
        assert f"{file.name} was edited by hand." in done.stderr
        assert ready.snapshot() == before
        file.write_text(text)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    for file in files:
        file.write_text(f"{file.read_text()}# mine\n")
    run_and_check(ready, "dbx_patch.install", "--force")
    assert [file for file in files if file.read_text().endswith("# mine\n")] == []

    files[-1].write_text(f"{files[-1].read_text()}# mine\n")
    run_and_check(ready, "dbx_patch.uninstall")
    assert list_shim_files(ready) == []


@pytest.mark.matrix
def test_installers_at_the_same_time_each_finish_their_work(ready: Node) -> None:
    """Two nodes, or two notebooks, can install into one shared folder."""
    before = ready.snapshot()
    pythons = [ready.python, ready.cluster_libraries / "bin/python"]

    for command in ("install", "uninstall"):
        running = [
            subprocess.Popen(
                [str(ready.python), "-m", f"dbx_patch.{command}", "--python", str(python)],
                env=ready.environ(),
                cwd=ready.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for python in pythons * 3
        ]
        outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
        assert outcomes == [(b"", 0)] * len(running)
        assert [get_status(ready, python)["live"] for python in pythons] == [command == "install"] * 2

    assert ready.snapshot() == before


@own_only
def test_files_of_a_killed_installer_are_removed(ready: Node) -> None:
    left = ready.layer(ready.runtime) / ".dbx-patch-abc123"
    left.write_text("half a file")

    run_and_check(ready, "dbx_patch.install")

    assert not left.exists()


@own_only
def test_each_named_interpreter_has_its_own_result(ready: Node) -> None:
    other, absent = ready.cluster_libraries / "bin/python", ready.root / "absent"
    pythons = [str(ready.python), str(absent), str(other)]

    done = ready.dbx_patch("dbx_patch.install", "--json", *(f"--python={python}" for python in pythons))

    results = json.loads(done.stdout)
    assert done.returncode == 1
    assert [entry.get("python") for entry in results] == [str(ready.python), None, str(other)]
    assert str(absent) in results[1]["error"]


@own_only
def test_every_interpreter_of_a_node_is_found_once(ready: Node) -> None:
    notebook = ready.make_notebook()
    (ready.root / "usr/lib" / ready.version / "site-packages").mkdir()
    code = (
        "import dataclasses, json, os, pathlib, sys; from dbx_patch.installer import find_interpreters;"
        " environ = {'PYSPARK_PYTHON': sys.argv[2], 'DATABRICKS_ROOT_VIRTUALENV_ENV': sys.argv[3]};"
        " print(json.dumps(dataclasses.asdict(find_interpreters(pathlib.Path(sys.argv[1]), environ))))"
    )
    runtime = ready.root / "databricks/python3"
    libraries = ready.cluster_libraries / "bin/python"
    command = [ready.python, "-c", code, ready.root, runtime / "bin/python3", runtime]

    answer = json.loads(ready.run(command).stdout)

    pythons = [*map(str, (runtime / "bin/python", libraries, notebook.python, ready.base))]
    assert answer == {"pythons": pythons, "left_out": [], "elsewhere": []}
    if os.geteuid() == 0:
        os.chown(libraries.parent, 1234, 1234)
        answer = json.loads(ready.run(command).stdout)
        assert str(libraries) not in answer["pythons"]
        assert answer["left_out"] == [f"{libraries}: other users can modify {libraries.parent}"]


@pytest.mark.matrix
@own_only
def test_all_means_the_known_places_and_names_what_a_receipt_knows_elsewhere(ready: Node) -> None:
    runtime, elsewhere = ready.root / "databricks/python3/bin/python", ready.root / "elsewhere/bin/python"
    ready.run([ready.python, "-m", "venv", "--without-pip", elsewhere.parent.parent])
    (ready.root / "usr/lib" / ready.version / "site-packages").mkdir()  # of a base interpreter that Debian built
    before = ready.snapshot()
    run_and_check(ready, "dbx_patch.install", "--python", str(elsewhere))
    named = {"DATABRICKS_ROOT_VIRTUALENV_ENV": str(runtime.parent.parent), "PYSPARK_PYTHON": str(runtime)}

    hints = []
    for command in ("install", "uninstall"):
        done = ready.run([ready.python, "-m", f"dbx_patch.{command}", "--all", "--json"], named)
        hints += re.findall("^To use it, run `(.*)`[.]$", done.stderr, re.MULTILINE)
        pythons = [entry["python"] for entry in json.loads(done.stdout)]
        assert pythons == [*map(str, (runtime, ready.base))]
        assert done.stderr.splitlines()[:-1] == [
            "The interpreters of this node:",
            f"  {runtime}",
            f"  {ready.base}",
            f"left out: {elsewhere}: dbx-patch was installed for it, and it is in no known place of a node",
        ]
        lives = [get_status(ready, python)["live"] for python in (runtime, ready.base, elsewhere)]
        assert lives == [command == "install", command == "install", True]

    assert [" install " in hints[0], " uninstall " in hints[1]] == [True, True]
    ready.run(["sh", "-c", hints[1]])
    assert ready.snapshot() == before


def move_from_node(node: Node) -> Path:
    """Make a machine that is no Databricks node of a node: rename its folder. Return the environment's Python."""
    (node.root / "databricks").rename(node.root / "project")
    return node.root / "project/python3/bin/python"


@own_only
def test_without_a_node_only_site_packages_is_changed_and_all_finds_nothing(ready: Node) -> None:
    python = move_from_node(ready)
    before = ready.snapshot()

    everywhere = ready.run(
        [python, "-m", "dbx_patch.install", "--all"],
        {"PYSPARK_PYTHON": str(python), "DATABRICKS_RUNTIME_VERSION": ""},
        check=False,
    )

    assert (everywhere.returncode, everywhere.stdout) == (1, "")
    assert everywhere.stderr.splitlines() == [
        f"left out: {python}: it is not on a Databricks node",
        "error: No Python of a Databricks node was found.",
        "Fix: name one with `--python PATH`.",
    ]
    assert ready.snapshot() == before
    ready.run([python, "-m", "dbx_patch.install"])
    assert get_status_by(ready, python)["live"]
    ready.run([python, "-m", "dbx_patch.uninstall"])
    assert ready.snapshot() == before


def get_status_by(node: Node, python: Path) -> dict[str, Any]:
    """Return what `dbx-patch status` reports when this Python runs it."""
    return dict(json.loads(node.run([python, "-m", "dbx_patch", "status", "--json"], check=False).stdout))


@own_only
def test_interpreter_without_site_packages_is_skipped_or_refused(ready: Node) -> None:
    before = ready.snapshot()
    named = {"PYSPARK_PYTHON": str(ready.base)}
    layer = ready.root / "usr/lib" / ready.version / "site-packages"

    everywhere = ready.run([ready.python, "-m", "dbx_patch.install", "--all", "--dry-run"], named, check=False)
    there = ready.dbx_patch("dbx_patch.install", "--python", str(ready.base))

    assert f"{ready.base}: its site-packages folder does not exist: {layer}\n" in everywhere.stderr
    assert (there.returncode, there.stdout) == (1, "")
    assert f"Nothing was changed for {ready.base}.\nIts site-packages folder does not exist: {layer}." in there.stderr
    assert ready.snapshot() == before


@pytest.mark.matrix
@own_only
def test_receipts_that_are_broken_or_newer_change_nothing(ready: Node) -> None:
    before = ready.snapshot()
    receipts = ready.root / ".local/state/dbx-patch/receipts.json"
    run_and_check(ready, "dbx_patch.install")
    (written,) = json.loads(receipts.read_text())["installations"].values()
    assert (written["python"], written["slot"]) == (str(ready.python), 1)
    assert written["loader"].endswith("/sitecustomize.py")

    for content in ("[]", "{", '{"format": 1, "installations": {"x": 1, "y": {}}}'):
        receipts.write_text(content)
        run_and_check(ready, "dbx_patch.install")
        run_and_check(ready, "dbx_patch.uninstall")
        assert ready.snapshot() == before
        receipts.parent.mkdir(parents=True)

    newer = '{"format": 2}'
    receipts.write_text(newer)
    run_and_check(ready, "dbx_patch.install")
    run_and_check(ready, "dbx_patch.uninstall")
    assert receipts.read_text() == newer


@pytest.mark.matrix
def test_rounds_leave_nothing_behind(ready: Node) -> None:
    before = ready.snapshot()
    libraries = str(ready.cluster_libraries / "bin/python")

    for _ in range(3):
        run_and_check(ready, "dbx_patch.install")
        run_and_check(ready, "dbx_patch.install", "--python", libraries)
        set_version(ready, "0.0.1")
        run_and_check(ready, "dbx_patch", "install")
        run_and_check(ready, "dbx_patch", "uninstall")
        run_and_check(ready, "dbx_patch", "uninstall", "--python", libraries)
        assert ready.snapshot() == before


@own_only
def test_interpreter_of_another_kind_or_too_old_is_refused(ready: Node) -> None:
    """The old one is a stand-in, since most machines have none: it reports the version of one."""
    folder = ready.root / "old"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 8, 20, 'final', 0)\n")
    old = folder / "python"
    old.write_text(f"#!/bin/sh\nPYTHONPATH='{folder}' exec '{ready.base}' \"$@\"\n")
    old.chmod(0o755)

    done = ready.dbx_patch("dbx_patch.install", "--python", str(old))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {old} is cpython 3.8.20.\ndbx-patch supports CPython 3.9 and newer.\nFix: ")

    pypy = require("pypy3")
    done = ready.dbx_patch("dbx_patch.install", "--python", pypy)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {pypy} is pypy 3.")
    assert "dbx-patch supports CPython 3.9 and newer.\n" in done.stderr


@pytest.mark.matrix
@own_only
def test_uninstall_removes_the_cached_byte_code_once_the_shim_is_gone(ready: Node) -> None:
    before = ready.snapshot()
    cache = ready.root / ".cache/dbx-patch/byte-code"
    byte_code = cache / "Workspace/src/a.cpython-312.pyc"

    def fill_cache() -> None:
        byte_code.parent.mkdir(parents=True)
        byte_code.touch()

    fill_cache()
    run_and_check(ready, "dbx_patch.install")
    shim = ready.layer(ready.runtime).resolve() / SHIM

    with immutable(shim):
        assert ready.dbx_patch("dbx_patch.uninstall").returncode == 1
    planned = run_and_check(ready, "dbx_patch.uninstall", "--dry-run").stdout
    assert byte_code.exists()
    assert f"The byte code that was cached for you would be removed: {cache}.\n" in planned
    done = parse(ready.dbx_patch("dbx_patch.uninstall", "--json"))
    assert (done["cache"], done["cache_kept"]) == (str(cache), "")
    assert [file for file in done["changed"] if "/.cache/" in file] == []
    (ready.root / ".cache").rmdir()
    assert ready.snapshot() == before

    fill_cache()
    again = run_and_check(ready, "dbx_patch.uninstall").stdout
    assert again.splitlines()[1:] == [f"The byte code that was cached for you was removed: {cache}."]
    (ready.root / ".cache").rmdir()

    fill_cache()
    run_and_check(ready, "dbx_patch.install")
    with immutable(byte_code):
        done = parse(run_and_check(ready, "dbx_patch.uninstall", "--json"))
    assert (done["cache"], done["cache_kept"].splitlines()[-1]) == (str(cache), f"Fix: run `rm -r {cache}`.")
    assert not shim.exists()
    ready.run_fixes(done["cache_kept"])
    shutil.rmtree(ready.root / ".cache")
    assert ready.snapshot() == before


@pytest.mark.matrix
@foreign_only
def test_proof_uses_virtualenv_as_well_if_it_is_installed(ready: Node) -> None:
    ready.pip("install", "--quiet", "virtualenv")
    before = ready.snapshot()
    log = ready.root / "log"

    ready.run([require("strace"), "-f", "-qq", "-e", "execve", "-o", log, ready.python, "-m", "dbx_patch.install"])

    started = re.findall(r'execve\("[^"]+/(venv|virtualenv)(---system-site-packages)?/bin/python"', log.read_text())
    assert set(started) == set(product(("venv", "virtualenv"), ("", "---system-site-packages")))
    log.unlink()
    run_and_check(ready, "dbx_patch.uninstall")
    assert ready.snapshot() == before


@pytest.mark.oldest_and_newest
def test_sitecustomize_on_a_kernel_s_path_is_extended_as_well(ready: Node) -> None:
    """It comes before every other one in a notebook, and only there."""
    for folder in ("python_shell", "spark/python"):
        file = ready.root / "databricks" / folder / "sitecustomize.py"
        file.write_text("databricks_was_here = True\n")
        before = ready.snapshot()

        run_and_check(ready, "dbx_patch.install")

        code = (
            "import json, sys, sitecustomize; live = 'dbx_patch_sitecustomize' in sys.modules;"
            " print(json.dumps({'theirs': sitecustomize.databricks_was_here, 'live': live}))"
        )
        assert json.loads(ready.make_notebook().run(code, check=True).stdout) == {"theirs": True, "live": True}
        run_and_check(ready, "dbx_patch.uninstall")
        shutil.rmtree(ready.root / "local_disk0/.ephemeral_nfs/envs")
        assert ready.snapshot() == before
        file.unlink()


@pytest.mark.oldest_and_newest
@own_only
def test_folder_with_any_character_in_its_name_works(ready: Node) -> None:
    environment = ready.root / 'it\'s a "folder" \\ {of} gr\u00fc\u00dfe'
    python = str(environment / "bin/python")
    ready.run([ready.python, "-m", "venv", "--without-pip", environment])
    before = ready.snapshot()

    done = run_and_check(ready, "dbx_patch.install", "--json", "--python", python)

    assert parse(done)["file"] == str(ready.layer(environment) / SHIM)
    run_and_check(ready, "dbx_patch.uninstall", "--python", python)
    assert ready.snapshot() == before


def test_nothing_is_installed_if_it_cannot_be_verified(ready: Node) -> None:
    """As where Debian's python3-venv is missing: no notebook environment can be created."""
    (ready.root / "usr/lib" / ready.version / "venv/__main__.py").unlink()
    before = ready.snapshot()

    done = ready.dbx_patch("dbx_patch.install", "--json")

    assert done.returncode == 1
    assert "failed to create a notebook environment" in json.loads(done.stdout)["error"]
    assert ready.snapshot() == before


@own_only
def test_uninstall_reports_the_live_shim_of_another_environment(installed: Node) -> None:
    notebook = installed.make_notebook()

    done = parse(installed.run([notebook.python, "-m", "dbx_patch.uninstall", "--json"], notebook.environ))

    assert done["changed"] == []
    assert done["still_live"] == str(installed.layer(installed.root / "databricks/python3") / SHIM)


@foreign_only
class TestForeign:
    """With a foreign `sitecustomize` in the standard library."""

    def foreign(self, node: Node) -> Path:
        return node.root / "etc" / node.version / "sitecustomize.py"

    @pytest.mark.oldest_and_newest
    def test_runs_as_before_and_keeps_its_link_owner_mode_and_time(self, ready: Node) -> None:
        foreign = self.foreign(ready)
        foreign.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(foreign, 1234, 2345)
        before = foreign.stat()

        run_and_check(ready, "dbx_patch.install")

        after = foreign.stat()
        kept = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        link = ready.root / "usr/lib" / ready.version / "sitecustomize.py"
        assert link.is_symlink()
        assert json.loads(ready.run([ready.python, "-c", DESCRIBE_START]).stdout) == {
            "shim is live": True,
            "foreign sitecustomize ran": True,
            "sitecustomize": str(link),
            "names left in it": [],
        }

    @pytest.mark.matrix
    def test_without_a_node_it_is_extended_only_if_that_is_asked_for(self, ready: Node) -> None:
        """It is the machine's own: every environment of that Python imports it."""
        python = move_from_node(ready)
        foreign, before = self.foreign(ready), ready.snapshot()
        command = [python, "-m", "dbx_patch.install"]

        for options in ([], ["--strict"], ["--force"], ["--dry-run"]):
            done = ready.run([*command, *options], {"DATABRICKS_RUNTIME_VERSION": ""}, check=False)

            assert (done.returncode, done.stdout) == (1, "")
            assert f"\nIt is {foreign}.\nFix: " in done.stderr
            assert "run the command again with `--outside-databricks`." in done.stderr
            assert ready.snapshot() == before

        for option, environ in (["--outside-databricks"], {}), ([], {"DATABRICKS_RUNTIME_VERSION": "16.4"}):
            ready.run([*command, *option], environ)
            assert get_status_by(ready, python)["slot"] == 2
            present = ready.snapshot()
            assert "is already installed" in ready.run(command).stdout  # it is not asked for again
            assert ready.snapshot() == present
            ready.run([python, "-m", "dbx_patch.uninstall"])
            assert ready.snapshot() == before

    def test_without_a_node_one_that_can_not_be_extended_is_no_reason_to_refuse(self, ready: Node) -> None:
        """Then only the environment's own site-packages is changed, as on a node."""
        python = move_from_node(ready)
        os.link(self.foreign(ready), ready.root / "etc/other_name.py")
        before = ready.snapshot()

        ready.run([python, "-m", "dbx_patch.install"])

        assert get_status_by(ready, python)["slot"] == 3
        ready.run([python, "-m", "dbx_patch.uninstall"])
        assert ready.snapshot() == before

    @pytest.mark.matrix
    @pytest.mark.oldest_and_newest
    def test_is_restored_byte_for_byte(self, ready: Node) -> None:
        """`tests/unit/test_blocks.py` has more contents; here Python runs them."""
        contents = {
            "no newline at the end": b"a = 1",
            "CRLF": b"a = 1\r\nb = 2\r\n",
            "Latin-1": b"# coding: latin-1\na = '\xe9'\n",
            "empty": b"",
            "byte order mark": b"\xef\xbb\xbfa = 1\n",
            "blanks at the end": b"if True:\n    a = 1\n    ",
        }
        for name, content in contents.items():
            self.foreign(ready).write_bytes(content)
            before = ready.snapshot()

            assert parse(run_and_check(ready, "dbx_patch.install", "--json"))["slot"] == 2, name
            assert self.foreign(ready).read_bytes().startswith(content)
            run_and_check(ready, "dbx_patch.uninstall")

            assert ready.snapshot() == before, name

    def test_edit_made_after_the_install_survives(self, ready: Node) -> None:
        run_and_check(ready, "dbx_patch.install")
        content = self.foreign(ready).read_text()
        self.foreign(ready).write_text(f"first = 1\n{content}last = 1\n")

        run_and_check(ready, "dbx_patch.uninstall")

        rest = self.foreign(ready).read_text()
        assert rest.startswith("first = 1\n")
        assert rest.endswith("last = 1\n")
        assert "dbx" not in rest

    def test_block_deleted_by_hand_leaves_nothing_behind(self, ready: Node) -> None:
        """Or by a package manager that installs its own file again."""
        before = ready.snapshot()
        content = self.foreign(ready).read_bytes()
        run_and_check(ready, "dbx_patch.install")
        self.foreign(ready).write_bytes(content)

        run_and_check(ready, "dbx_patch.uninstall")

        after = {name: facts for name, facts in ready.snapshot().items() if not name.startswith("etc/")}
        assert after == {name: facts for name, facts in before.items() if not name.startswith("etc/")}
        assert self.foreign(ready).read_bytes() == content

    @pytest.mark.oldest_and_newest
    def test_if_it_keeps_the_shim_from_running_a_pth_file_loads_it(self, ready: Node) -> None:
        content = self.foreign(ready).read_text()
        for last in ("def (", "raise RuntimeError", "\0"):
            self.foreign(ready).write_text(f"{content}{last}\n")
            before = ready.snapshot()

            done = run_and_check(ready, "dbx_patch.install")

            assert "Notebooks are not reached: they start without the shim." in done.stdout
            status = get_status(ready)
            assert (status["live"], status["slot"]) == (True, 3), last
            assert self.foreign(ready).read_text().endswith(f"{last}\n")
            run_and_check(ready, "dbx_patch.uninstall")
            assert ready.snapshot() == before

    @pytest.mark.matrix
    @pytest.mark.oldest_and_newest
    def test_two_environments_over_one_interpreter_are_independent(self, ready: Node) -> None:
        """Each has its own block, and the one that stays keeps running, also in a file without a newline at its end."""
        self.foreign(ready).write_bytes(self.foreign(ready).read_bytes().rstrip())
        before = ready.snapshot()
        other = ready.cluster_libraries / "bin/python"

        run_and_check(ready, "dbx_patch.install")
        run_and_check(ready, "dbx_patch.install", "--python", str(other))
        assert self.foreign(ready).read_text().count(">>> dbx-patch >>>") == 2
        run_and_check(ready, "dbx_patch.uninstall")

        status = get_status(ready, other)
        assert status["live"]
        assert str(status["file"]).startswith(str(ready.layer(ready.cluster_libraries)))
        run_and_check(ready, "dbx_patch.uninstall", "--python", str(other))
        assert ready.snapshot() == before

    def test_one_that_appears_later_is_extended_by_the_next_install(self, ready: Node) -> None:
        link = ready.root / "usr/lib" / ready.version / "sitecustomize.py"
        link.rename(link.with_suffix(".away"))
        run_and_check(ready, "dbx_patch.install")
        link.with_suffix(".away").rename(link)
        shadowed = get_status(ready)
        assert (shadowed["live"], shadowed["slot"], shadowed["shadowed_by"]) == (False, 1, str(link))

        assert parse(ready.dbx_patch("dbx_patch.install", "--json"))["slot"] == 2

        assert get_status(ready)["slot"] == 2
        assert not (ready.layer(ready.runtime) / "sitecustomize.py").exists()


@own_only
class TestCommandLine:
    """What a person and a script see."""

    def test_file_that_is_no_interpreter_is_an_error_with_a_fix(self, installed: Node, tmp_path: Path) -> None:
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n")
        broken.chmod(0o755)
        pythons = (str(tmp_path / "absent"), str(broken), "/dev/null")
        for command, python in product(("install", "uninstall", "status"), pythons):
            done = installed.dbx_patch("dbx_patch", command, "--python", python)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"error: {python} ")
            assert done.stderr.endswith("\nFix: name another interpreter with `--python PATH`.\n")
            assert len(done.stderr.splitlines()) == 3
            done = installed.dbx_patch("dbx_patch", command, "--json", "--python", python)
            assert (done.returncode, done.stderr) == (1, "")
            assert python in json.loads(done.stdout)["error"]

    @pytest.mark.parametrize("arguments", [[], ["instal"], ["install", "--pyhton", "x"], ["install", "extra"]])
    def test_wrong_usage_exits_with_2(self, installed: Node, arguments: list[str]) -> None:
        done = installed.dbx_patch("dbx_patch", *arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: python -m dbx_patch" in done.stderr

    def test_console_script_is_the_same_command(self, installed: Node) -> None:
        script = installed.runtime / "bin/dbx-patch"

        by_script = installed.run([script, "status", "--json"])

        assert by_script.stdout == installed.dbx_patch("dbx_patch", "status", "--json").stdout
        assert installed.run([script, "--help"]).stdout.startswith("usage: dbx-patch ")

    def test_status_lists_the_layers_and_their_editable_installs(self, installed: Node) -> None:
        notebook = installed.make_notebook()
        command = [notebook.python, "-m", "dbx_patch", "status", "--json"]

        layers = parse(installed.run(command, notebook.environ))["layers"]

        assert [layer["path"] for layer in layers] == notebook.layers[:-1]  # .python_edge_libs is no layer by its name
        assert [layer["opened_by_site"] for layer in layers] == [True, False, False, False, False]
        roots = {layer["path"]: [entry["root"] for entry in layer["editables"]] for layer in layers}
        assert roots.pop(notebook.layers[2]) == [str(installed.project("testx") / "src")]
        assert [*roots.values()] == [[], [], [], []]

    def test_status_is_printed_for_people_as_well(self, installed: Node) -> None:
        done = installed.dbx_patch("dbx_patch", "status")
        off = installed.run([installed.python, "-m", "dbx_patch", "status"], OFF, check=False)

        assert (done.returncode, off.returncode) == (0, 1)
        assert " is live in " in done.stdout
        assert "__editable__.testx-0.1.0.pth: " in done.stdout
        assert "turned off by DBX_PATCH_DISABLE" in off.stdout

    def test_user_who_cannot_write_there_is_told_what_to_run(self, ready: Node) -> None:
        need_root("become another user")
        ready.open_to_all()
        before = ready.snapshot()
        run = f"os.execv('{ready.python}', ['{ready.python}', '-m', 'dbx_patch.install'])"
        command = f"import os; os.setgid(65534); os.setuid(65534); {run}"

        done = ready.run([ready.base, "-c", command], check=False)

        assert done.returncode == 1
        layer = ready.layer(ready.runtime).resolve()
        assert done.stderr.splitlines() == [
            f"error: Nothing was installed for {ready.python}, and nothing was changed.",
            f"{layer} is not writable by this user.",
            "It belongs to root:root, mode 0755.",
            f"Fix: run `sudo {ready.python} -m dbx_patch.install`.",
            "Until then, run `import dbx_patch; dbx_patch.patch_dbx()` in each notebook.",
        ]
        assert ready.snapshot() == before
