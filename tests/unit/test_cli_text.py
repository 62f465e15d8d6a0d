"""What the command line prints, where, and with which exit code. No interpreter is started."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch import __version__, installer
from dbx_patch._cli import main as run_command
from dbx_patch._cli import make_parser, paint, suggest

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = ("install", "uninstall", "status", "doctor", "fingerprint", "selftest", "startup-wheel", "init-script")
SHIM = "/layer/dbx_patch_sitecustomize.py"
BYTE_CODE = (
    "/layer/__pycache__/sitecustomize.cpython-312.pyc",
    "/layer/__pycache__/sitecustomize.cpython-312.opt-1.pyc",
)
INSTALLED = installer.Installation(
    python="/python",
    version="1.0",
    slot=installer.Slot.OWN,
    file=SHIM,
    loader="/layer/sitecustomize.py",
    changed=[SHIM, *BYTE_CODE],
)
UNINSTALLED = installer.Uninstallation("/python", [SHIM, *BYTE_CODE])
Printed = tuple[int, str, str]


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """What runs a command in this process, and returns its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Printed:
        code = run_command(arguments, prog="dbx-patch")
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def replace(monkeypatch: pytest.MonkeyPatch, name: str, result: object) -> list[tuple[Any, dict[str, Any]]]:
    """Make a function of the installer return a result or raise it; return the list of its calls."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def call(*args: object, **options: Any) -> object:
        calls.append((args, options))
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(installer, name, call)
    return calls


# Help and usage


def test_help_lists_every_command_and_the_exit_codes(main: Callable[..., Printed]) -> None:
    code, text, _ = main("--help")

    assert code == 0
    assert tuple(make_parser("dbx-patch")[1]) == COMMANDS
    assert [command for command in COMMANDS if f"\n    {command}" not in text] == []
    assert "Exit codes: 0 success" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_starts_with_its_usage_and_what_it_does(main: Callable[..., Printed], command: str) -> None:
    code, text, _ = main(command, "--help")

    usage, description = text.split("\n\n")[:2]
    assert (code, usage.split()[:3]) == (0, ["usage:", "dbx-patch", command])
    assert description[0].isupper()
    assert description.endswith(".")


def test_version_names_the_folder_of_the_package(main: Callable[..., Printed]) -> None:
    code, text, _ = main("--version")

    assert code == 0
    assert text.startswith(f"dbx-patch {__version__} (/")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["instal"], "unknown command 'instal' (did you mean install?)\n"),
        (["stauts", "--json"], "unknown command 'stauts' (did you mean status?)\n"),
        (["xyz"], "unknown command 'xyz'\n"),
        (["status", "--jsno"], "unrecognized arguments: --jsno (did you mean --json?)\n"),
        (["status", "--verbose"], "unrecognized arguments: --verbose\n"),
        (["install", "--dryrun"], "unrecognized arguments: --dryrun (did you mean --dry-run?)\n"),
        (["install", "--all", "--python", "/python"], "argument --python: not allowed with argument --all\n"),
        (["doctor", "a", "b"], "unrecognized arguments: b\n"),
        (["doctor", "a b"], "a b"),
        (["init-script", "--version", "0.2.0", "--python", "relative"], "not an absolute path: relative"),
        ([], "the following arguments are required: COMMAND\n"),
    ],
)
def test_wrong_usage_is_an_error_with_a_suggestion(
    main: Callable[..., Printed], arguments: list[str], hint: str
) -> None:
    code, output, errors = main(*arguments)

    assert (code, output) == (2, "")
    assert errors.startswith("usage: dbx-patch")
    assert hint in errors


def test_nothing_is_suggested_for_a_word_that_resembles_none() -> None:
    assert suggest("instal", ["install", "status"]) == " (did you mean install?)"
    assert suggest("words", ["install", "status"]) == ""


# Results


@pytest.mark.parametrize(("command", "result"), [("install", INSTALLED), ("uninstall", UNINSTALLED)])
def test_byte_code_files_are_listed_with_verbose_only(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, command: str, result: object
) -> None:
    replace(monkeypatch, command, result)

    short, long, data = (main(command, *options)[1] for options in ([], ["--verbose"], ["--json"]))

    assert SHIM in short
    assert "__pycache__" not in short
    assert [file for file in (SHIM, *BYTE_CODE) if file not in long] == []
    assert json.loads(data)["changed"] == [SHIM, *BYTE_CODE]


def test_options_reach_the_installer(main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch) -> None:
    installs = replace(monkeypatch, "install", INSTALLED)
    uninstalls = replace(monkeypatch, "uninstall", UNINSTALLED)

    assert main("install", "--python", "/a", "--python", "/b", "--python", "/a", "--force")[0] == 0
    assert main("install", "--python", "/a", "--strict", "--outside-databricks")[0] == 0
    assert main("uninstall", "--python", "/a", "--dry-run")[0] == 0

    forced = {"force": True, "strict": False, "dry_run": False, "outside_databricks": False}
    strict = {"force": False, "strict": True, "dry_run": False, "outside_databricks": True}
    assert installs == [(("/a",), forced), (("/b",), forced), (("/a",), strict)]
    assert uninstalls == [(("/a",), {"dry_run": True})]


def test_error_goes_to_stderr_with_the_fix_on_its_own_line(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "install", installer.InstallerError("/layer is not writable.\nFix: run it as root."))

    code, output, errors = main("install")

    assert (code, output) == (1, "")
    assert errors.splitlines() == ["error: /layer is not writable.", "Fix: run it as root."]
    code, output, errors = main("install", "--json")
    assert (code, json.loads(output), errors) == (1, {"error": "/layer is not writable.\nFix: run it as root."}, "")


def test_all_prints_the_interpreters_before_it_uses_one_and_what_it_leaves_out(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = installer.Found(
        ["/a/python", "/b/python"], ["/c: it does not start"], ["/d/python", "/with a blank/python"]
    )
    replace(monkeypatch, "find_interpreters", found)
    replace(monkeypatch, "uninstall", installer.InstallerError("It failed."))
    command = f"{sys.executable} -m dbx_patch uninstall --python=/d/python '--python=/with a blank/python'"
    elsewhere = "dbx-patch was installed for it, and it is in no known place of a node"
    before = [
        "The interpreters of this node:",
        "  /a/python",
        "  /b/python",
        "left out: /c: it does not start",
        f"left out: /d/python: {elsewhere}",
        f"left out: /with a blank/python: {elsewhere}",
        f"To use them, run `{command}`.",
    ]

    assert main("uninstall", "--all")[2].splitlines() == [*before, "error: It failed.", "error: It failed."]
    code, output, errors = main("uninstall", "--all", "--json")
    assert (code, json.loads(output), errors.splitlines()) == (1, [{"error": "It failed."}] * 2, before)


def test_all_reports_how_to_name_an_interpreter_if_there_is_none(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "find_interpreters", installer.Found([], ["/python: it does not start"], []))

    code, output, errors = main("uninstall", "--all")

    assert (code, output) == (1, "")
    assert errors.splitlines() == [
        "left out: /python: it does not start",
        "error: No Python of a Databricks node was found.",
        "Fix: name one with `--python PATH`.",
    ]


def test_one_failure_among_several_interpreters_is_a_failure(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(python: str, **_: object) -> installer.Installation:
        if python == "/b":
            msg = "it does not start"
            raise installer.InstallerError(msg)
        return INSTALLED

    monkeypatch.setattr(installer, "install", install)

    code, output, errors = main("install", "--python", "/a", "--python", "/b")
    assert (code, SHIM in output, errors) == (1, True, "error: it does not start\n")
    code, output, _ = main("install", "--python", "/a", "--python", "/b", "--json")
    found = json.loads(output)
    assert (code, found[0]["version"], found[1]) == (1, "1.0", {"error": "it does not start"})


@pytest.mark.parametrize("live", [True, False])
def test_exit_code_of_status_is_whether_it_is_live(
    main: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, *, live: bool
) -> None:
    status = installer.Status(
        python="/python",
        live=live,
        version="1.0",
        slot=1,
        file=SHIM,
        shadowed_by=None,
        disabled=False,
        hooks={},
        layers=[],
        reaches_notebooks=live,
        passed_over=[],
        notebook=False,
    )
    replace(monkeypatch, "status", status)

    assert main("status")[0] == (0 if live else 1)
    code, output, _ = main("status", "--json")
    assert (code, json.loads(output)["live"]) == (0 if live else 1, live)


# Colors


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_stdout_that_takes_text_only_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's is like that, and a wheel task runs a command in a kernel."""

    class Printed(io.StringIO):
        encoding = "utf-8"

    printed = Printed()
    monkeypatch.setattr(sys, "stdout", printed)

    assert run_command(["init-script", "--version", "1.0"]) == 0
    assert printed.getvalue().startswith("#!")


def test_only_the_first_line_is_colored_and_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    red, plain = "\033[31mhead\033[0m\nrest", "head\nrest"

    assert paint(plain, 31, Terminal()) == red
    assert paint(plain, 31, io.StringIO()) == plain
    for name, value, shown in (("NO_COLOR", "1", plain), ("NO_COLOR", "", red), ("TERM", "dumb", plain)):
        monkeypatch.setenv(name, value)
        assert paint(plain, 31, Terminal()) == shown
