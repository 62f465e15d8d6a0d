"""The command line as it is started, and the package's public names. tests/unit/test_cli_text.py has what it prints."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dbx_patch

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS = {
    "Diagnosis",
    "EditableInstall",
    "HookStatus",
    "PatchStatus",
    "Report",
    "SelfTest",
    "Shadow",
    "Step",
    "Verification",
}
CALLS = {
    "check_patch_status",
    "check_sitecustomize_status",
    "doctor",
    "editable_installs",
    "fingerprint",
    "install_sitecustomize",
    "patch_and_install",
    "patch_dbx",
    "remove_all_patches",
    "selftest",
    "uninstall_sitecustomize",
    "verify_editable_installs",
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def run_on_terminal(environ: Mapping[str, str], *arguments: str) -> str:
    """Run a command of ours on a terminal; return what it shows."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "dbx_patch", *arguments]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    subprocess.run(command, stdout=slave, stderr=slave, env=plain | dict(environ), timeout=60, check=False)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # Linux reports the end this way, once no process has the terminal open
        pass
    os.close(master)
    return shown.decode()


# Commands


def test_every_spelling_of_a_command_runs_it() -> None:
    program = str(Path(sys.executable).parent / "dbx-patch")
    modules = [["-m", "dbx_patch", "install"], ["-m", "dbx_patch.install"], ["-m", "dbx_patch.uninstall"]]
    commands = [[program, "install"], *([sys.executable, *module] for module in modules)]

    usages = [" ".join(run(*command, "--help").stdout.split("[-h]")[0].split()) for command in commands]

    assert usages == [
        "usage: dbx-patch install",
        "usage: python -m dbx_patch install",
        "usage: python -m dbx_patch install",
        "usage: python -m dbx_patch uninstall",
    ]


def test_exit_code_and_errors_reach_the_shell() -> None:
    done = run(sys.executable, "-m", "dbx_patch", "status", "--python", "/nowhere")
    assert (done.returncode, done.stdout, done.stderr.startswith("error: ")) == (1, "", True)

    done = run(sys.executable, "-m", "dbx_patch.install", "--dryrun")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("unrecognized arguments: --dryrun (did you mean --dry-run?)\n")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["--help", "status", "fingerprint"])
def test_pipe_that_nobody_reads_does_not_change_the_outcome(command: str, unbuffered: str) -> None:
    """As in `dbx-patch status | head -1`, where `head` has read what it wanted."""
    words = [sys.executable, "-m", "dbx_patch", command]
    reader, writer = os.pipe()
    os.close(reader)
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, env=environ, timeout=60, check=False)
    os.close(writer)

    assert (done.stderr, done.returncode) == (b"", run(*words).returncode)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["--help", "status", "fingerprint"])
def test_output_that_can_not_be_written_is_an_error(command: str, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "dbx_patch", command]
        environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, check=False)

    first, reason, fix = done.stderr.splitlines()
    assert (done.returncode, first, reason) == (
        1,
        "error: Could not write the output.",
        "No space left on device.",
    )
    assert fix.startswith("Fix: ")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_closed_output_does_not_change_the_outcome(closed: str) -> None:
    for words, code in ((["fingerprint"], 0), (["status", "--python", "/nowhere"], 1)):
        done = run("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "dbx_patch", *words)

        assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_paths_that_the_locale_can_not_spell_are_escaped_or_refused(tmp_path: Path) -> None:
    """As with `LC_ALL=C` where an administrator has turned Python's UTF-8 mode off."""
    lower = tmp_path / "site-packages"
    lower.mkdir()
    (lower / "p.pth").write_text("/Workspace/ü/src\n", "utf-8")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "é"))
    (layer,) = tmp_path.glob("é/lib/python*/site-packages")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(lower)}

    def run_in_ascii(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dbx_patch", *words]
        environ = os.environ | locale
        return subprocess.run(command, capture_output=True, encoding="ascii", env=environ, timeout=60, check=False)

    done = run_in_ascii("status")
    assert (done.returncode, done.stderr) == (1, "")
    assert "  p.pth: /Workspace/\\xfc/src\n" in done.stdout
    for words in (["install", "--python", str(tmp_path / "é/bin/python")], ["doctor"]):
        done = run_in_ascii(*words)
        first, fix = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (1, "")
        assert first.endswith(" is not in ascii, the encoding that this process uses for paths.")
        assert fix == "Fix: set the environment variable PYTHONUTF8=1, and run the command again."
    assert list(layer.iterdir()) == []


def test_terminal_shows_results_and_errors_in_color() -> None:
    color = "\033[31m"
    asked = ("doctor", "no_such_module")

    assert color in run_on_terminal({"TERM": "xterm"}, *asked)
    assert color not in run_on_terminal({"TERM": "xterm", "NO_COLOR": "1"}, *asked)
    assert f"{color}error:" in run_on_terminal({"TERM": "xterm"}, "status", "--python", "/nowhere")


# Public names


def test_public_names_are_frozen_and_documented() -> None:
    assert set(dbx_patch.__all__) == {"__version__", "InstallerError", *RESULTS, *CALLS}
    assert dir(dbx_patch) == sorted(dbx_patch.__all__)
    assert [name for name in (*RESULTS, *CALLS) if not getattr(dbx_patch, name).__doc__] == []
    with pytest.raises(AttributeError, match="has no attribute 'patch_dbr'"):
        _ = dbx_patch.patch_dbr


def test_import_of_the_package_loads_nothing_else_and_patching_needs_no_dependency() -> None:
    code = """
import json, sys
before = set(sys.modules)
import dbx_patch
loaded = sorted(set(sys.modules) - before)
sys.modules.update(dict.fromkeys(["packaging", "packaging.version", "platformdirs"]))
live = dbx_patch.patch_dbx().live
print(json.dumps({"loaded": loaded, "live": live, "fingerprint live": dbx_patch.fingerprint()["shim"]["live"]}))
"""
    done = run(sys.executable, "-c", code)

    template = "dbx_patch.sitecustomize_template"
    assert json.loads(done.stdout) == {
        "loaded": ["dbx_patch", template, f"{template}.dbx_patch_sitecustomize"],
        "live": True,
        "fingerprint live": True,
    }


@pytest.mark.parametrize(
    "call", ["check_patch_status", "verify_editable_installs", "check_sitecustomize_status", "doctor"]
)
def test_results_show_in_a_notebook_what_they_print(call: str) -> None:
    result = getattr(dbx_patch, call)()

    html = result._repr_html_()
    assert str(result).split()[0].rstrip(":") in html
    assert "<script" not in html


def test_results_are_frozen() -> None:
    with pytest.raises(AttributeError):
        dbx_patch.check_patch_status().live = True  # type: ignore[misc]
