"""The command line's manners, and the package's public face."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import dbx_patch

if TYPE_CHECKING:
    from collections.abc import Mapping

API = {
    "check_patch_status",
    "check_sitecustomize_status",
    "doctor",
    "editable_installs",
    "fingerprint",
    "install_sitecustomize",
    "patch_and_install",
    "patch_dbx",
    "remove_all_patches",
    "uninstall_sitecustomize",
    "verify_editable_installs",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dbx_patch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def run_on_terminal(environ: Mapping[str, str], *arguments: str) -> str:
    """Run the command on a terminal; return what it shows."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "dbx_patch", *arguments]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    subprocess.run(command, stdout=slave, stderr=slave, env=plain | dict(environ), timeout=60, check=False)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # Linux's way to say that nobody writes any more
        pass
    os.close(master)
    return shown.decode()


def test_help_names_every_command_and_its_exit_codes() -> None:
    text = run("--help").stdout

    for command in ("install", "uninstall", "status", "doctor", "fingerprint", "render", "init-script"):
        assert f"\n    {command}" in text
        assert run(command, "--help").stdout.startswith(f"usage: python -m dbx_patch {command} ")
    assert "Exit codes: 0 done" in text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["instal"], "there is no command 'instal' (did you mean install?)"),
        (["stauts", "--json"], "there is no command 'stauts' (did you mean status?)"),
        (["xyz"], "there is no command 'xyz'\n"),
        (["status", "--jsno"], "unrecognized arguments: --jsno (did you mean --json?)"),
        (["install", "--dryrun"], "unrecognized arguments: --dryrun (did you mean --dry-run?)"),
        (["doctor", "a", "b"], "unrecognized arguments: b\n"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_told_with_what_may_have_been_meant(arguments: list[str], hint: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr


def test_colours_are_for_terminals_and_for_those_who_want_them() -> None:
    colour = "\033[31m"
    asked = ("doctor", "no_such_module")

    assert colour not in run(*asked).stdout
    assert colour in run_on_terminal({"TERM": "xterm"}, *asked)
    assert colour not in run_on_terminal({"TERM": "xterm", "NO_COLOR": "1"}, *asked)
    assert colour in run_on_terminal({"TERM": "xterm", "NO_COLOR": ""}, *asked)
    assert colour not in run_on_terminal({"TERM": "dumb"}, *asked)
    assert f"{colour}error:" in run_on_terminal({"TERM": "xterm"}, "status", "--python", "/nowhere")


def test_public_names_are_there_and_documented() -> None:
    assert {name for name in dbx_patch.__all__ if name[0].islower()} == API
    for name in dbx_patch.__all__:
        assert getattr(dbx_patch, name).__doc__
    assert set(dbx_patch.__all__) <= set(dir(dbx_patch))
    with pytest.raises(AttributeError, match="has no attribute 'patch_dbr'"):
        _ = dbx_patch.patch_dbr


def test_import_of_the_package_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import dbx_patch; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    template = "dbx_patch.sitecustomize_template"
    assert done.stdout == f"['dbx_patch', '{template}', '{template}.sitecustomize']\n"


@pytest.mark.parametrize(
    "call", ["check_patch_status", "verify_editable_installs", "check_sitecustomize_status", "doctor"]
)
def test_results_are_shown_in_a_notebook_as_they_are_printed(call: str) -> None:
    result = getattr(dbx_patch, call)()

    html = result._repr_html_()
    assert str(result).splitlines()[0].rpartition(" ")[2] in html
    assert "<script" not in html


def test_results_are_frozen() -> None:
    with pytest.raises(AttributeError):
        dbx_patch.check_patch_status().live = True  # type: ignore[misc]
