"""What the installer prints: one sentence a line, lines that fit a terminal, and `Fix:` before what the user can do."""

from __future__ import annotations

import dataclasses
import errno
import grp
import json
import os
import pwd
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch._mounts import WORDS
from dbx_patch.installer import (
    Installation,
    InstallerError,
    Slot,
    Status,
    Uninstallation,
    _access,
    _interpreter,
    _places,
    find_silenced,
    name_command,
)
from dbx_patch.installer._access import find_mount, name_protection, name_removal
from dbx_patch.installer._core import give_up, lock_and_probe, refuse_edited, refuse_outside
from dbx_patch.installer._errors import NotLiveError, explain
from dbx_patch.installer._interpreter import Interpreter, probe, run
from dbx_patch.installer._places import Place, find_foreign_obstacle, find_own_obstacle, find_pth_obstacle
from dbx_patch.installer._proof import check_live, make_notebook
from dbx_patch.installer._results import explain_reach
from dbx_patch.installer.files import _lock, lock
from dbx_patch.installer.files._transaction import undo
from dbx_patch.sitecustomize_template import template

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = 100
PYTHON = "/databricks/python/bin/python"
LIBRARIES = "/local_disk0/.ephemeral_nfs/cluster_libraries/python/bin/python"
LAYER = "/databricks/python/lib/python3.12/site-packages"
SHIM = f"{LAYER}/dbx_patch_sitecustomize.py"
BYTE_CODE = f"{LAYER}/__pycache__/dbx_patch_sitecustomize.cpython-312.pyc"
FOREIGN = "/usr/lib/python3.12/sitecustomize.py"
SAVED = "/usr/lib/python3.12/__pycache__/sitecustomize.cpython-312.pyc.before-dbx-patch"
CHANGED = [SHIM, BYTE_CODE, FOREIGN, SAVED]
VERIFIED = "Verified in this interpreter and in notebook environments created from it (250 ms)."
RESTART = "Notebooks that are running now use it once they are restarted."


def installation(slot: int = 2, **facts: Any) -> Installation:
    loader = {1: f"{LAYER}/sitecustomize.py", 2: FOREIGN, 3: f"{LAYER}/zzz_dbx_patch.pth"}[slot]
    return Installation(PYTHON, template.VERSION, Slot(slot), SHIM, loader, proof_ms=250, **facts)


def status(**facts: Any) -> Status:
    editable = {
        "pth": f"{LAYER}/__editable__.testx-0.1.0.pth",
        "line": "/Workspace/Users/someone@example.com/testx/src",
    }
    layer = {"path": LAYER, "opened_by_site": False, "editables": [editable]}
    values: dict[str, Any] = {
        "live": False,
        "version": "0.2.0",
        "slot": 2,
        "file": SHIM,
        "shadowed_by": None,
        "disabled": False,
        "reaches_notebooks": bool(facts.get("live")),
        "passed_over": [],
        "notebook": False,
    }
    hooks = {"sys_path_init": "armed" if facts.get("live") else ""}
    return Status(**({"python": PYTHON, "hooks": hooks, "layers": [layer]} | values | facts))


NEWEST = template.VERSION
INSTALL = shlex.join([sys.executable, "-m", "dbx_patch.install", "--python", PYTHON])
LAYERS = (
    f"Layer: {LAYER} (Python reads no .pth files here)",
    "  __editable__.testx-0.1.0.pth: /Workspace/Users/someone@example.com/testx/src",
    "Databricks' import hooks:",
)
WORK = "Editable installs work in notebooks."
NO_WORK = "Editable installs do not work in notebooks."
NOT_REACHED = "Notebooks are not reached: they start without the shim."
PASSED_OVER = "What reaches them could not be used:"
READ_ONLY = "/usr is on a read-only file system.\nIt is mounted at /usr.\nFix: run `mount -o remount,rw /usr`."
CACHE = "/root/.cache/dbx-patch/byte-code"
NOTEBOOK = (
    "Only this notebook is reached: other notebooks have environments of their own.",
    "Fix: to reach every notebook, install it by an init script; `dbx-patch init-script` prints one.",
)
SILENCED = (
    "A project's `sitecustomize` does not run:",
    "  /work/project/src/sitecustomize.py",
    "Python imports the first one on its path only, and that one loads the shim.",
    "Fix: rename it, for example to `my_startup`, and write the line `import my_startup` to this file:",
    f"  {LAYER}/my_startup.pth",
)
RESULTS: dict[str, tuple[object, list[str]]] = {
    "installed in slot 1": (
        installation(1, changed=[SHIM]),
        [f"Installed dbx-patch {NEWEST} for {PYTHON}:", f"  {SHIM}", VERIFIED, RESTART],
    ),
    "installed in slot 2": (
        installation(2, changed=CHANGED),
        [
            f"Installed dbx-patch {NEWEST} for {PYTHON}:",
            f"  {SHIM}",
            f"  {FOREIGN}",
            f"{FOREIGN} now loads the shim.",
            "It is another package's file. Its own code runs as before.",
            VERIFIED,
            RESTART,
        ],
    ),
    "installed in slot 1, and a project has a sitecustomize": (
        installation(1, changed=[SHIM], silenced="/work/project/src/sitecustomize.py"),
        [f"Installed dbx-patch {NEWEST} for {PYTHON}:", f"  {SHIM}", VERIFIED, RESTART, *SILENCED],
    ),
    "dry run of an install in slot 1 that a project's sitecustomize will not survive": (
        installation(1, changed=[SHIM], silenced="/work/project/src/sitecustomize.py", dry_run=True),
        [f"This would install dbx-patch {NEWEST} for {PYTHON} (slot 1):", f"  {SHIM}", *SILENCED],
    ),
    "installed in slot 3": (
        installation(3, changed=[SHIM], passed_over=[f"{FOREIGN} can't be used.\nFix: rename it."]),
        [
            f"Installed dbx-patch {NEWEST} for {PYTHON}:",
            f"  {SHIM}",
            "Verified in this interpreter (250 ms).",
            "The shim works in this environment only, not in environments created from it.",
            NOT_REACHED,
            PASSED_OVER,
            f"  {FOREIGN} can't be used.",
            "  Fix: rename it.",
            f"Fix: run `{INSTALL}` after that.",
        ],
    ),
    "installed in slot 3, and nobody can say how to change that": (
        installation(3, passed_over=[f"The shim is not live in {PYTHON}.\n{FOREIGN} did not load it."]),
        [
            f"dbx-patch {NEWEST} is already installed for {PYTHON}; nothing was changed.",
            "Verified in this interpreter (250 ms).",
            "The shim works in this environment only, not in environments created from it.",
            NOT_REACHED,
            PASSED_OVER,
            f"  The shim is not live in {PYTHON}.",
            f"  {FOREIGN} did not load it.",
            f"Fix: run `{INSTALL}` after you have removed the obstacle.",
        ],
    ),
    "installed in slot 3 for a notebook alone": (
        installation(3, changed=[SHIM], passed_over=[READ_ONLY], notebook=True),
        [
            f"Installed dbx-patch {NEWEST} for {PYTHON}:",
            f"  {SHIM}",
            "Verified in this interpreter (250 ms).",
            "The shim works in this environment only, not in environments created from it.",
            RESTART,
            *NOTEBOOK,
        ],
    ),
    "already installed": (
        installation(1),
        [f"dbx-patch {NEWEST} is already installed for {PYTHON}; nothing was changed.", VERIFIED],
    ),
    "byte code only": (
        installation(1, changed=[BYTE_CODE]),
        [
            f"Installed dbx-patch {NEWEST} for {PYTHON}:",
            "  1 byte-code file (`--verbose` lists them)",
            VERIFIED,
            RESTART,
        ],
    ),
    "newer version kept": (
        Installation(PYTHON, "99.0", Slot.OWN, SHIM, f"{LAYER}/sitecustomize.py", kept=True),
        [
            f"dbx-patch 99.0 is installed for {PYTHON}.",
            f"It is newer than this version, {NEWEST}, and was kept.",
            "To replace it, run the command again with `--force`.",
        ],
    ),
    "newer version kept in slot 3": (
        Installation(PYTHON, "99.0", Slot.PTH, SHIM, f"{LAYER}/zzz_dbx_patch.pth", kept=True),
        [
            f"dbx-patch 99.0 is installed for {PYTHON}.",
            f"It is newer than this version, {NEWEST}, and was kept.",
            NOT_REACHED,
            "To replace it, run the command again with `--force`.",
        ],
    ),
    "dry run of an install in slot 3": (
        installation(3, changed=[SHIM], passed_over=[READ_ONLY], dry_run=True),
        [
            f"This would install dbx-patch {NEWEST} for {PYTHON} (slot 3):",
            f"  {SHIM}",
            NOT_REACHED,
            PASSED_OVER,
            *(f"  {line}" for line in READ_ONLY.splitlines()),
            f"Fix: run `{INSTALL}` after that.",
        ],
    ),
    "dry run of an install": (
        installation(2, changed=CHANGED, dry_run=True),
        [f"This would install dbx-patch {NEWEST} for {PYTHON} (slot 2):", f"  {SHIM}", f"  {FOREIGN}"],
    ),
    "dry run with nothing to change": (
        installation(2, dry_run=True),
        [f"This would install dbx-patch {NEWEST} for {PYTHON} (slot 2), and change nothing."],
    ),
    "uninstalled": (
        Uninstallation(PYTHON, CHANGED),
        [f"Uninstalled dbx-patch for {PYTHON}, and restored or removed:", f"  {SHIM}", f"  {FOREIGN}"],
    ),
    "dry run of an uninstall": (
        Uninstallation(PYTHON, CHANGED, dry_run=True),
        [f"This would uninstall dbx-patch for {PYTHON}, and restore or remove:", f"  {SHIM}", f"  {FOREIGN}"],
    ),
    "nothing to uninstall": (
        Uninstallation(LIBRARIES),
        [f"dbx-patch is not installed for {LIBRARIES}.", "There is nothing to do."],
    ),
    "uninstalled with the cached byte code": (
        Uninstallation(PYTHON, [SHIM], cache=CACHE),
        [
            f"Uninstalled dbx-patch for {PYTHON}, and restored or removed:",
            f"  {SHIM}",
            f"The byte code that was cached for you was removed: {CACHE}.",
        ],
    ),
    "dry run of an uninstall with cached byte code": (
        Uninstallation(PYTHON, [SHIM], dry_run=True, cache=CACHE),
        [
            f"This would uninstall dbx-patch for {PYTHON}, and restore or remove:",
            f"  {SHIM}",
            f"The byte code that was cached for you would be removed: {CACHE}.",
        ],
    ),
    "nothing to uninstall but cached byte code, which can't be removed": (
        Uninstallation(PYTHON, cache=CACHE, cache_kept=f"Other users can modify /root.\nFix: run `rm -r {CACHE}`."),
        [
            f"dbx-patch is not installed for {PYTHON}.",
            f"The byte code that is cached for you was not removed: {CACHE}.",
            "Other users can modify /root.",
            f"Fix: run `rm -r {CACHE}`.",
        ],
    ),
    "another environment's shim still live": (
        Uninstallation(LIBRARIES, still_live=SHIM),
        [
            f"dbx-patch is not installed for {LIBRARIES}.",
            "There is nothing to do.",
            "The shim of another environment is still live there:",
            f"  {SHIM}",
            "Fix: to uninstall it too, run `python -m dbx_patch.uninstall` with that environment's Python.",
        ],
    ),
    "live, and notebooks not reached": (
        status(live=True, slot=3, reaches_notebooks=False, passed_over=[READ_ONLY]),
        [
            NO_WORK,
            f"dbx-patch 0.2.0 runs in {PYTHON} (slot 3), but notebooks are not reached.",
            f"Shim: {SHIM}",
            NOT_REACHED,
            PASSED_OVER,
            *(f"  {line}" for line in READ_ONLY.splitlines()),
            f"Fix: run `{INSTALL}` after that.",
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live, and notebooks not reached for a reason that can't be seen": (
        status(live=True, slot=3, reaches_notebooks=False),
        [
            NO_WORK,
            f"dbx-patch 0.2.0 runs in {PYTHON} (slot 3), but notebooks are not reached.",
            f"Shim: {SHIM}",
            NOT_REACHED,
            f"Fix: run `{INSTALL}`, which tries again and prints the reason.",
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live, and a kernel's sitecustomize came later": (
        status(live=True, reaches_notebooks=False, passed_over=["Kernels import another.\nIt does not load the shim."]),
        [
            NO_WORK,
            f"dbx-patch 0.2.0 runs in {PYTHON} (slot 2), but notebooks are not reached.",
            f"Shim: {SHIM}",
            NOT_REACHED,
            "Kernels import another.",
            "It does not load the shim.",
            f"Fix: run `{INSTALL}`.",
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live for a notebook alone": (
        status(live=True, slot=3, reaches_notebooks=False, notebook=True),
        [
            "Editable installs work in this notebook only.",
            f"dbx-patch 0.2.0 runs in {PYTHON} (slot 3), in this notebook only.",
            f"Shim: {SHIM}",
            *NOTEBOOK,
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live": (
        status(live=True),
        [
            WORK,
            f"dbx-patch 0.2.0 is live in {PYTHON} (slot 2).",
            f"Shim: {SHIM}",
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live, and a project has a sitecustomize": (
        status(live=True, slot=1, silenced="/work/project/src/sitecustomize.py"),
        [
            WORK,
            f"dbx-patch 0.2.0 is live in {PYTHON} (slot 1).",
            f"Shim: {SHIM}",
            *SILENCED,
            *LAYERS,
            "  sys_path_init: armed",
        ],
    ),
    "live, with mounts": (
        status(live=True, mounts=dict(zip(("/Workspace", "/Volumes", "/dbfs", "/mnt/x"), WORDS.values(), strict=True))),
        [
            WORK,
            f"dbx-patch 0.2.0 is live in {PYTHON} (slot 2).",
            f"Shim: {SHIM}",
            *LAYERS[:2],
            "Mount: /Volumes does not answer",
            "Mount: /dbfs refuses this process, which has no credential for it yet",
            "Mount: /mnt/x is away",
            LAYERS[2],
            "  sys_path_init: armed",
        ],
    ),
    "not installed": (
        status(version=None, slot=None, file=None),
        [NO_WORK, f"dbx-patch is not installed for {PYTHON}.", f"Fix: run `{INSTALL}`.", *LAYERS, "  sys_path_init"],
    ),
    "turned off": (
        status(disabled=True),
        [
            NO_WORK,
            f"dbx-patch 0.2.0 is installed for {PYTHON}, and turned off by DBX_PATCH_DISABLE.",
            f"Shim: {SHIM}",
            "Fix: unset DBX_PATCH_DISABLE.",
            *LAYERS,
            "  sys_path_init",
        ],
    ),
    "shadowed": (
        status(shadowed_by=FOREIGN),
        [
            NO_WORK,
            f"dbx-patch 0.2.0 is installed for {PYTHON}, but not live.",
            f"Shim: {SHIM}",
            f"{FOREIGN} comes before it on the path, and does not load it.",
            f"Fix: run `{INSTALL}`.",
            *LAYERS,
            "  sys_path_init",
        ],
    ),
    "damaged": (
        status(version=None),
        [
            NO_WORK,
            f"dbx-patch (unknown version) is installed for {PYTHON}, but not live.",
            f"Shim: {SHIM}",
            "This file or one of its parts is missing or broken.",
            f"Fix: run `{INSTALL}`.",
            *LAYERS,
            "  sys_path_init",
        ],
    ),
}


def assert_fits(text: str) -> None:
    """Check that each line fits, but for a command with two paths, which can't be broken."""
    for line in text.replace(sys.executable, PYTHON).splitlines():
        assert len(line) <= COLUMNS or re.match(r"Fix: .*`(sudo )?\S+/python -m dbx_patch.install --python ", line), (
            line
        )
        assert line == line.rstrip()


@pytest.mark.parametrize("name", RESULTS)
def test_result_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    result, lines = RESULTS[name]

    assert str(result).splitlines() == lines
    assert_fits(str(result))


def test_result_in_a_notebook_is_the_same_text_escaped() -> None:
    result = Uninstallation("/a&b<c>/python")
    escaped = str(result).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    assert result._repr_html_() == f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{escaped}</pre>'


@pytest.mark.parametrize("result", [installation(2, changed=CHANGED), Uninstallation(PYTHON, CHANGED)])
def test_byte_code_is_listed_only_on_request(result: Installation | Uninstallation) -> None:
    assert result.describe() == str(result)
    assert [line for line in str(result).splitlines() if ".pyc" in line] == []
    assert [line.strip() for line in result.describe(verbose=True).splitlines()[1:5]] == CHANGED


def test_command_that_installs_is_one_that_a_shell_can_run() -> None:
    assert name_command(sys.executable) == shlex.join([sys.executable, "-m", "dbx_patch.install"])
    assert shlex.split(name_command("/with a blank/python"))[-2:] == ["--python", "/with a blank/python"]


# Errors. Each function raises one, in a folder of its own.


def interpreter(folder: Path, **facts: Any) -> Interpreter:
    """Return an interpreter's description, as if it had been started."""
    values: dict[str, Any] = {
        "python": str(folder / "python"),
        "version": (3, 12, 1),
        "prefix": folder,
        "purelib": folder,
        "base": None,
        "cache_tag": "cpython-312",
        "magic": b"",
        "sitecustomizes": (),
        "live": None,
        "layers": (),
        "has_virtualenv": False,
        "stderr": "",
    }
    return Interpreter(**(values | facts))


def place(folder: Path, slot: Slot = Slot.OWN) -> Place:
    return Place(slot, folder / "dbx_patch_sitecustomize.py", folder / "sitecustomize.py")


def make_script(folder: Path, code: str) -> str:
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{code}\n")
    script.chmod(0o755)
    return str(script)


def start_nothing(folder: Path) -> None:
    run([str(folder / "absent")])


def wait_too_long(folder: Path) -> None:
    run([make_script(folder, "exec sleep 60")])


def ask_no_python(folder: Path) -> None:
    probe(make_script(folder, "echo 'no such thing' >&2; exit 3"))


def ask_a_silent_one(folder: Path) -> None:
    probe(make_script(folder, "exit 0"))


def ask_an_old_one(folder: Path) -> None:
    answer = '{"version": [3, 8, 20], "implementation": "cpython"}'
    probe(make_script(folder, f"printf '%s%s%s' \"$4\" '{answer}' \"$4\""))


def make_python(folder: Path, purelib: Path) -> str:
    """Make a command that describes itself as an interpreter."""
    facts = interpreter(folder, prefix="/", purelib=str(purelib), magic="")
    described = dataclasses.asdict(facts) | {"implementation": "cpython"}
    return make_script(folder, f"printf '%s%s%s' \"$4\" '{json.dumps(described)}' \"$4\"")


def have_no_site_packages(folder: Path) -> None:
    with lock_and_probe(make_python(folder, folder / "absent")):
        pass


def meet_a_failing_disk(folder: Path) -> None:
    with lock_and_probe(make_python(folder, folder)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder / "x.py")


def find_an_edited_file(folder: Path) -> None:
    shim = folder / "dbx_patch_sitecustomize.py"
    shim.write_bytes(Path(template.__file__).read_bytes() + b"# mine\n")
    refuse_edited(shim)


def be_on_no_node(folder: Path) -> None:
    raise refuse_outside(str(folder / "python"), Place(Slot.FOREIGN, Path(SHIM), Path(FOREIGN)))


def find_every_place_taken(folder: Path) -> None:
    raise give_up(str(folder / "python"), [f"{FOREIGN} belongs to another user.", "One more.\nFix: remove it."])


def find_it_locked(folder: Path) -> None:
    with lock([folder]), lock([folder]):
        pass


def fail_to_undo(folder: Path) -> None:
    undo(Path.unlink, folder / "absent")


def see_it_not_loaded(folder: Path) -> None:
    check_live(interpreter(folder, stderr="Traceback\nValueError: x\n"), interpreter(folder), place(folder))


def see_another_file_run(folder: Path) -> None:
    first = interpreter(folder, sitecustomizes=(Path("/databricks/spark/python/sitecustomize.py"),))
    check_live(first, interpreter(folder), place(folder))


def see_another_version_run(folder: Path) -> None:
    live = {"version": "0.0.1", "file": SHIM, "hooks": {}}
    check_live(interpreter(folder, live=live), interpreter(folder), place(folder))


def see_new_output(folder: Path) -> None:
    live = {"version": template.VERSION, "file": SHIM, "hooks": {}}
    check_live(interpreter(folder, live=live, stderr="ValueError: x\n"), interpreter(folder), place(folder))


def lack_venv(folder: Path) -> None:
    make_script(folder, "echo 'No module named venv' >&2; exit 1")
    make_notebook(interpreter(folder), ["venv", "--without-pip"], folder / "notebook")


FIX, NO_FIX = True, False
ERRORS: dict[Callable[[Path], None], tuple[str, bool]] = {
    start_nothing: ("No such file or directory.", FIX),
    wait_too_long: ("It did not end within 0.1 seconds.", FIX),
    ask_no_python: ("no such thing.", FIX),
    ask_a_silent_one: ("It printed nothing.", FIX),
    ask_an_old_one: ("dbx-patch supports CPython 3.9 and newer.", FIX),
    have_no_site_packages: ("Its site-packages folder does not exist: ", FIX),
    meet_a_failing_disk: ("x.py: No space left on device.", FIX),
    find_an_edited_file: ("was edited by hand.", FIX),
    be_on_no_node: ("/databricks is missing, and DATABRICKS_RUNTIME_VERSION is not set.\n", FIX),
    find_every_place_taken: (f"{FOREIGN} belongs to another user.", FIX),
    find_it_locked: ("Another dbx-patch is working in ", FIX),
    fail_to_undo: ("Could not restore ", FIX),
    lack_venv: ("`python -m venv` failed to create a notebook environment.", FIX),
    see_another_version_run: ("runs dbx-patch 0.0.1 instead.", FIX),
    see_it_not_loaded: ("did not load it.\nIt wrote to stderr: ValueError: x", NO_FIX),
    see_another_file_run: ("/databricks/spark/python/sitecustomize.py runs instead.", NO_FIX),
    see_new_output: ("wrote to stderr when it started with the shim.\nValueError: x", NO_FIX),
}


@pytest.mark.parametrize("fail", ERRORS, ids=lambda fail: fail.__name__)
def test_error_says_what_happened_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Path], None]
) -> None:
    expected, has_fix = ERRORS[fail]
    monkeypatch.setattr(_lock, "PATIENCE", 0.0)
    if fail is wait_too_long:
        monkeypatch.setattr(_interpreter, "TIMEOUT", 0.1)

    with pytest.raises(InstallerError) as raised:
        fail(tmp_path)

    text = str(raised.value)
    assert expected in text
    assert ("\nFix: " in text) == has_fix
    assert raised.value.problem == text.partition("\nFix: ")[0] or fail is find_every_place_taken
    assert isinstance(raised.value, NotLiveError) == fail.__name__.startswith("see_")
    assert_fits(text.replace(str(tmp_path), "/databricks/python"))
    assert re.search(r"[^.:`x]$", raised.value.problem) is None  # sentences


@pytest.mark.parametrize("uid", [0, 1000])
def test_who_cannot_write_is_sent_to_sudo_and_to_the_call_for_one_notebook(
    monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    *_, fix, until = str(give_up(PYTHON, ["A reason."])).splitlines()

    root = "Fix: remove these obstacles, then run the command again."
    assert fix == (f"Fix: run `sudo {INSTALL}`." if uid else root)
    assert until == "Until then, run `import dbx_patch; dbx_patch.patch_dbx()` in each notebook."


def test_system_error_has_file_and_reason() -> None:
    assert explain(OSError(errno.EIO, "Input/output error", "/a")) == "/a: Input/output error."
    assert explain(OSError(errno.EIO, "Input/output error")) == "Input/output error."
    assert explain(InstallerError("A problem.", fix="solve it.")) == "A problem.\nFix: solve it."


# Obstacles


def test_obstacles_name_the_file_the_reason_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/test_slots.py runs such commands."""
    own, foreign = place(tmp_path), place(tmp_path, Slot.FOREIGN)
    loader = own.loader
    assert find_own_obstacle(own) is None
    loader.write_text("def (\n")
    found = {
        "syntax": find_foreign_obstacle(foreign),
        "not imported": find_own_obstacle(own),
        "byte code": find_foreign_obstacle(Place(Slot.FOREIGN, own.shim, tmp_path / "sitecustomize.pyc")),
        "not read": find_pth_obstacle(interpreter(tmp_path), place(tmp_path, Slot.PTH)),
    }
    loader.write_text("theirs = 1\n")
    assert find_foreign_obstacle(foreign) is None
    (tmp_path / "second name").hardlink_to(loader)
    found["hard link"] = find_foreign_obstacle(foreign)
    loader.unlink()
    found["unreadable"] = find_foreign_obstacle(foreign)
    loader.symlink_to("/nowhere/at/all.py")
    found["dangling"] = find_own_obstacle(own)
    loader.unlink()
    tmp_path.chmod(0o750)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found["folder"] = find_own_obstacle(own)

    owner = f"It belongs to {pwd.getpwuid(os.geteuid()).pw_name}:{grp.getgrgid(tmp_path.stat().st_gid).gr_name}"
    file = f"{LAYER}/sitecustomize.py"
    texts = {name: str(text).replace(str(tmp_path), LAYER) for name, text in found.items()}
    assert texts == {
        "syntax": f"{file} can't be compiled.\n{texts['syntax'].splitlines()[-2]}\nFix: correct or remove that file.",
        "not imported": f"{file} exists, but Python does not import it.\nFix: run `mv {file} {file}.old`.",
        "byte code": f"{file}c is byte code without a source file.\nFix: add its source, or run `rm {file}c`.",
        "not read": f"Python does not read `.pth` files in {LAYER}.",
        "hard link": f"{file} has more than one hard link.\nReplacing it would detach it from the others.\n"
        f"Fix: if that does no harm, run `cp -p {file} copy && mv copy {file}`.",
        "unreadable": f"{file} can't be read by this user.\nIts owner is not known: No such file or directory.",
        "dangling": f"{file} is a link to /nowhere/at/all.py, which does not exist.\n"
        f"Fix: create that file, or run `rm {file}`.",
        "folder": f"{LAYER} is not writable by this user.\n{owner}, mode 0750.",
    }
    for text in texts.values():
        for line in text.splitlines():
            assert len(line.replace(LAYER, "/usr/lib/python3.12")) <= COLUMNS or re.search(r"`(mv|cp) ", line)


@pytest.mark.parametrize(("uid", "sudo"), [(0, ""), (1000, "sudo ")])
def test_commands_have_sudo_for_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, sudo: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    owner = tmp_path.stat().st_uid

    assert name_protection(tmp_path, {owner + 1}) == (
        f"Fix: if only root needs to change it, run `{sudo}chown -h root: {tmp_path}`."
    )
    assert name_protection(tmp_path, {owner}) == f"Fix: run `{sudo if owner != uid else ''}chmod go-w {tmp_path}`."
    assert name_removal("rm", tmp_path / "a b") == f"rm '{tmp_path}/a b'"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert name_removal("rm", tmp_path / "a b") == f"{sudo}rm '{tmp_path}/a b'"
    fix = explain_reach(PYTHON, ["A reason."], notebook=False)[-1]
    assert fix == f"Fix: run `{sudo}{INSTALL}`{'' if sudo else ' after you have removed the obstacle'}."
    assert explain_reach(PYTHON, ["A.\nFix: b."], notebook=False)[-1] == f"Fix: run `{sudo}{INSTALL}` after that."


def test_project_s_sitecustomize_is_no_place_for_the_shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with its project. If ours comes first, it is named, but for one on a mount: that may hang."""
    root, layer = tmp_path / "project/src", tmp_path / "site-packages"
    (root / "sitecustomize").mkdir(parents=True)
    theirs = root / "sitecustomize/__init__.py"
    theirs.touch()
    foreign = tmp_path / "elsewhere/sitecustomize.py"
    described = {"path": str(layer), "opened_by_site": True, "editables": [{"root": ""}, {"root": str(root)}]}

    def choose(*files: Path) -> list[tuple[Slot, Path]]:
        found = interpreter(layer, layers=(described,), sitecustomizes=files)
        return [(each.slot, each.loader) for each, _ in _places.list_places(found)][:1]

    for folder in (layer, foreign.parent):
        folder.mkdir()
    foreign.touch()
    assert choose(theirs) == choose(root / "sitecustomize.py") == [(Slot.OWN, layer / "sitecustomize.py")]
    assert choose(theirs, foreign) == [(Slot.FOREIGN, foreign)]
    assert find_silenced([described]) == str(theirs)
    assert find_silenced([{**described, "opened_by_site": False}]) is None
    monkeypatch.setattr(template.load("folders"), "remote_folders", ("", str(tmp_path / "project")))
    assert find_silenced([described]) is None
    assert find_silenced([described], lambda file: Path(file).is_file()) == str(theirs)


def test_mount_of_a_path_is_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [("/", "ext4"), ("/u s\\r", "ext4")]
    monkeypatch.setattr(_access, "list_mounts", lambda: mounts)

    assert find_mount(Path("/u s\\r/lib")) == Path("/u s\\r")
    assert find_mount(Path("/u s\\r2")) == Path("/")
    mounts.clear()  # there is no /proc
    assert find_mount(Path("/u s\\r")) == Path("/")
