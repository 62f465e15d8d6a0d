"""The command line. Results are printed to stdout, errors to stderr."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dbx_patch import __version__, installer
from dbx_patch._doctor import Diagnosis, doctor, doctor_for_notebooks
from dbx_patch._fingerprint import fingerprint
from dbx_patch._mounts import begin_asking, find_mount, hangs
from dbx_patch._notebook import check_sitecustomize_status

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

SUCCESS, FAILURE, INTERRUPTED = 0, 1, 130
"""Exit codes. argparse exits with 2 on wrong usage."""
NOT_ENCODABLE = """\
{} is not in {}, the encoding that this process uses for paths.
Fix: set the environment variable PYTHONUTF8=1, and run the command again."""
"""Python does so by itself in the locale C (:pep:`540`), unless that is turned off. Other locales can be as narrow."""
NEEDS_LINUX = """\
`{}` looks at the Python that runs it, on a Databricks node, and this machine does not run Linux.
Fix: run it on the cluster. Here, `dbx-patch init-script` and `dbx-patch startup-wheel` write what to copy there."""
GREEN, RED = 32, 31
"""Codes of the terminal's colors."""

Result = installer.Installation | installer.Uninstallation | installer.Status


class Arguments(argparse.Namespace):
    """The options and arguments of a command."""

    parser: argparse.ArgumentParser
    """The command's own parser, which prints the usage in errors."""
    run: Callable[[Arguments], int]
    """What runs the command."""
    run_for: Callable[[str, Arguments], Result]
    """What runs the command for one interpreter, if it is about interpreters."""
    module: str
    here: bool
    python: list[str]
    all: bool
    json: bool
    force: bool
    dry_run: bool
    verbose: bool
    outside_databricks: bool
    version: str | None
    wheel: str | None
    sha256: str
    output: Path
    file: Path | None
    folder: str
    strict: bool
    unwritten: OSError | None = None
    """Why the output could not be written, if it could not."""


class Parser(argparse.ArgumentParser):
    """A parser that does not fail if it can't print. `main` flushes stdout, and reports that."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # until 3.10 is dropped: later versions do this themselves, so the class can go
        with contextlib.suppress(OSError):
            super()._print_message(message, file)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command and return its exit code. `argv` are its arguments, `prog` is what the usage calls the program."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as some daemons do it for their children
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
    arguments = Arguments()
    try:
        code = run_command(list(sys.argv[1:] if argv is None else argv), prog or "dbx-patch", arguments)
    except UnicodeEncodeError as error:
        print_error(describe_error(error))
        return FAILURE
    except SystemExit as stopped:  # argparse has printed the help or a usage error
        code = int(stopped.code or SUCCESS)
    write(b"", arguments)
    if arguments.unwritten is None or isinstance(arguments.unwritten, BrokenPipeError):
        return code  # the reader of a pipe has read as much as it wanted, as in `dbx-patch status | head -1`
    print_error(f"Could not write the output.\n{arguments.unwritten.strerror}.\nFix: write it to another place.")
    return FAILURE


def run_command(words: list[str], prog: str, arguments: Arguments) -> int:
    """Run the command that these words name, with its options in `arguments`, and return its exit code."""
    parser, commands = make_parser(prog)
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        parser.error(f"unknown command {command!r}{suggest(command, commands)}")
    _, unknown = parser.parse_known_args(words, arguments)
    if unknown:
        options = re.findall(r"--[a-z-]+", arguments.parser.format_help())
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}{suggest(unknown[0], options)}")
    if sys.platform != "linux" and arguments.run not in (run_init_script, run_startup_wheel):
        print_error(NEEDS_LINUX.format(arguments.parser.prog))
        return FAILURE
    return arguments.run(arguments)


def suggest(word: str, known: Sequence[str]) -> str:
    """Return a hint with the most similar known word; empty if none is similar."""
    close = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def make_parser(prog: str) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser, and the names of the commands."""
    parser = Parser(
        prog=prog,
        description="Make editable Python installs work in Databricks notebooks, with a start-up file.",
        epilog="Exit codes: 0 success, live, or healthy; 1 failure, not live, or a problem found; 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"dbx-patch {__version__} ({Path(__file__).parent})")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[Arguments], int], text: str, more: str = "") -> argparse.ArgumentParser:
        description = f"{text[0].upper()}{text[1:]}.{more and ' '}{more}"
        command = commands.add_parser(name, help=text, description=description)
        command.set_defaults(run=run, parser=command)
        return command

    command = add(
        "install",
        run_for_each,
        "install the start-up file and verify that it runs",
        "If it does not run, every file is restored. A second run changes nothing.",
    )
    command.set_defaults(run_for=install)
    add_pythons(command)
    add_json(command)
    add_changes(command)
    command.add_argument("--force", action="store_true", help="replace a newer version, and files edited by hand")
    command.add_argument(
        "--strict", action="store_true", help="fail, and restore every file, if notebooks can't be reached"
    )
    command.add_argument(
        "--outside-databricks",
        action="store_true",
        help="on a machine that is no Databricks node, also change a sitecustomize that other environments use",
    )

    command = add("uninstall", run_for_each, "remove the start-up file and restore every other file")
    command.set_defaults(run_for=uninstall)
    add_pythons(command)
    add_json(command)
    add_changes(command)

    command = add(
        "status",
        run_for_each,
        "report whether the start-up file is live",
        "Lists the layers with their editable installs too. Changes nothing. The exit code is 1 if it is not live.",
    )
    command.set_defaults(run_for=status)
    add_pythons(command)
    add_json(command)

    command = add(
        "doctor",
        run_doctor,
        "report why a module can't be imported, and how to fix it",
        "On a Databricks node, traces the import in the environment that a new notebook would have, and reports where "
        "the interpreter that runs this command differs. Elsewhere, and in a notebook's own shell, traces it in that "
        "interpreter. Prints the cause, the evidence, and a command that fixes it. Changes nothing. The exit code is 1 "
        "if it found a problem; if a notebook was judged, only the notebook's counts.",
    )
    command.add_argument("--here", action="store_true", help="ask only the interpreter that runs this command")
    command.add_argument(
        "module", metavar="MODULE", nargs="?", default="", help="the module (default: every one installed editable)"
    )
    add_json(command)

    add(
        "fingerprint",
        run_fingerprint,
        "print a description of this runtime as JSON, for bug reports",
        "It lists layers, start-up files, finders and import hooks. It contains no values, secrets, user names or "
        "paths of yours. Changes nothing, and sends nothing.",
    )
    command = add(
        "selftest",
        run_selftest,
        "prove here what dbx-patch promises, with throw-away projects",
        "Writes them into a temporary folder and a workspace folder, installs them into the layers that this user can "
        "write, imports them in fresh interpreters, and removes everything again. It first prints where it writes. In "
        "a notebook, call `dbx_patch.selftest()`. The exit code is 1 if something that applies failed.",
    )
    command.add_argument(
        "--folder",
        metavar="DIR",
        default="",
        help="folder for projects, beside the temporary one (default: the current one, or the user's own, if it is on "
        "a workspace mount)",
    )
    command.add_argument(
        "--output", metavar="FILE", dest="file", type=Path, help="also write the result to FILE, as JSON"
    )
    add_json(command)
    command = add(
        "startup-wheel",
        run_startup_wheel,
        "write a wheel that has dbx-patch start with every Python of an environment that it is installed in",
        "For environments that run no init script: list the wheel in the environment's dependencies. It contains this "
        "package. `pip uninstall dbx-patch` removes it.",
    )
    command.add_argument(
        "--output", metavar="DIR", type=Path, default=Path(), help="folder to write it to (default: the current one)"
    )
    add_json(command)
    command = add(
        "init-script",
        run_init_script,
        "print a cluster init script that installs dbx-patch on every node",
        "Save it in a volume, and name it in the cluster's settings. It installs a wheel, or a version from the "
        "cluster's package index; one of the two has to be named. Any init script changes how a cluster gets its "
        "dependencies: from DBR 19 on, a cluster in standard access mode whose dependency mode is Auto uses "
        "Environments only if it has no init script, and with one it uses the older cluster libraries.",
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--wheel",
        metavar="PATH",
        help="wheel to install, by its path on the node, for example in /Volumes; needs no package index",
    )
    source.add_argument(
        "--version",
        help="version to install from the cluster's package index, which can have another project of this name",
    )
    command.add_argument(
        "--sha256",
        metavar="HEX",
        default="",
        help="the wheel's digest: no other wheel is installed (default: read from the wheel at PATH, or from the file "
        "of that name in this folder)",
    )
    command.add_argument(
        "--strict", action="store_true", help="make the cluster's launch fail if notebooks can't be reached"
    )
    command.add_argument(
        "--python", metavar="PATH", default="", help="the runtime's interpreter (default: found on the node)"
    )
    return parser, list(commands.choices)


def add_pythons(command: argparse.ArgumentParser) -> None:
    """Add the options that choose interpreters."""
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--python",
        metavar="PATH",
        action="append",
        default=[],
        help="interpreter to use (default: the one that runs this command); can be repeated",
    )
    which.add_argument(
        "--all",
        action="store_true",
        help="use every Python in the known places of a Databricks node, each once: the runtime's, the cluster "
        "libraries', PYSPARK_PYTHON, the attached notebooks', and those that they were created from; prints the list "
        "first, and what it leaves out",
    )


def add_changes(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that changes files."""
    command.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    command.add_argument("--verbose", action="store_true", help="list byte-code files too")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option that selects JSON output."""
    command.add_argument("--json", action="store_true", help="print the result as JSON")


# The commands


def run_for_each(arguments: Arguments) -> int:
    """Run a command for each interpreter that was chosen."""
    pythons = find_pythons(arguments) if arguments.all else (arguments.python or [sys.executable])
    outcomes = [run_for_one(python, arguments) for python in dict.fromkeys(pythons)]
    errors = [error for error, _ in outcomes if error]
    if arguments.json:
        results = [dataclasses.asdict(result) if result else {"error": error} for error, result in outcomes]
        print_json(results if arguments.all or len(arguments.python) > 1 else results[0], arguments)
    if arguments.all and not pythons:
        print_error("No Python of a Databricks node was found.\nFix: name one with `--python PATH`.")
        return FAILURE
    failed = any(errors) or any(isinstance(result, installer.Status) and not result.live for _, result in outcomes)
    return FAILURE if failed else SUCCESS


def find_pythons(arguments: Arguments) -> list[str]:
    """Return the interpreters of this node, after printing them to stderr, with those that are left out."""
    found = installer.find_interpreters()
    if found.pythons:
        print_line("\n".join(["The interpreters of this node:", *(f"  {python}" for python in found.pythons)]))
    for line in found.left_out:
        print_line(f"left out: {line}")
    for python in found.elsewhere:
        print_line(f"left out: {python}: dbx-patch was installed for it, and it is in no known place of a node")
    if found.elsewhere:
        command = [sys.executable, "-m", "dbx_patch", arguments.parser.prog.split()[-1]]
        options = [f"--python={python}" for python in found.elsewhere]
        what = "it" if len(found.elsewhere) == 1 else "them"
        print_line(f"To use {what}, run `{shlex.join([*command, *options])}`.")
    return found.pythons


def run_for_one(python: str, arguments: Arguments) -> tuple[str, Result | None]:
    """Run a command for one interpreter, and return the error's text and None, or an empty text and the result."""
    try:
        result = arguments.run_for(python, arguments)
    except (installer.InstallerError, UnicodeEncodeError) as error:
        if not arguments.json:
            print_error(describe_error(error))
        return describe_error(error), None
    if not arguments.json:
        if isinstance(result, installer.Status):
            text, color = str(result), GREEN if result.reaches_notebooks or result.is_alone else RED
        else:
            text, color = result.describe(verbose=arguments.verbose), GREEN
        print_result(paint(text, color, sys.stdout), arguments)
    return "", result


def install(python: str, arguments: Arguments) -> installer.Installation:
    """Install for an interpreter."""
    return installer.install(
        python,
        force=arguments.force,
        strict=arguments.strict,
        dry_run=arguments.dry_run,
        outside_databricks=arguments.outside_databricks,
    )


def uninstall(python: str, arguments: Arguments) -> installer.Uninstallation:
    """Uninstall for an interpreter."""
    return installer.uninstall(python, dry_run=arguments.dry_run)


def status(python: str, _: Arguments) -> installer.Status:
    """Return the shim's state in an interpreter."""
    return check_sitecustomize_status(python)


def run_doctor(arguments: Arguments) -> int:
    """Print what the doctor finds."""
    try:
        report = (doctor if arguments.here else doctor_for_notebooks)(arguments.module)
    except UnicodeEncodeError:
        raise
    except ValueError as error:
        arguments.parser.error(str(error))
    if arguments.json:
        print_json(report.to_json(), arguments)
    else:
        for heading, diagnoses in report.sections:
            lines = [heading, *(line for found in diagnoses for line in show_diagnosis(found))]
            print_result("\n".join(filter(None, lines)), arguments)
        if report.note:
            print_line(f"Note: {report.note}.")
    return SUCCESS if report.healthy else FAILURE


def show_diagnosis(diagnosis: Diagnosis) -> list[str]:
    """Return the lines of a diagnosis, with its title in color."""
    title = paint(diagnosis.title, GREEN if diagnosis.healthy else RED, sys.stdout)
    return [diagnosis.overview, title, *diagnosis.details]


def run_selftest(arguments: Arguments) -> int:
    """Run the self-test, and print each row when it is done."""
    from dbx_patch._selftest import MARKS, Watcher, run_selftest  # noqa: PLC0415  # no other command needs it

    def say(text: str) -> None:
        color = {MARKS["passed"]: GREEN, MARKS["failed"]: RED}.get(text[:1])
        if arguments.json:
            print_line(text)
        else:
            print_result(paint(text, color, sys.stdout) if color else text, arguments)

    try:
        result = run_selftest(arguments.folder, Watcher(say), here=False)
    except KeyboardInterrupt:
        print_error("Interrupted. Everything that the self-test wrote was removed, unless it is listed above.")
        return INTERRUPTED
    except OSError as error:
        print_error(f"The self-test can't start.\n{error}.\nFix: name a folder that can be written in TMPDIR.")
        return FAILURE
    text = json.dumps(result.to_json(), indent=2)
    if arguments.json:
        print_result(text, arguments)
    if arguments.file is not None:
        try:
            arguments.file.write_text(f"{text}\n", "utf-8")
        except OSError as error:
            print_error(f"Could not write {arguments.file}.\n{error.strerror}.\nFix: name a file that can be written.")
            return FAILURE
    return SUCCESS if result.passed else FAILURE


def run_fingerprint(arguments: Arguments) -> int:
    """Print the fingerprint."""
    print_json(fingerprint(), arguments)
    return SUCCESS


def run_startup_wheel(arguments: Arguments) -> int:
    """Write the start-up wheel."""
    try:
        wheel = installer.write_startup_wheel(arguments.output)
    except installer.InstallerError as error:
        print_error(str(error))
        return FAILURE
    if arguments.json:
        print_json(dataclasses.asdict(wheel), arguments)
    else:
        print_result(paint(str(wheel), GREEN, sys.stdout), arguments)
    return SUCCESS


def run_init_script(arguments: Arguments) -> int:
    """Print an init script."""
    path, digest, python = arguments.wheel or "", arguments.sha256.lower(), str(arguments.python or "")
    if not arguments.version and not path:
        arguments.parser.error(f"name a wheel with --wheel, or a version with --version\n{installer.NAME_IS_TAKEN}")
    if digest and not path:
        arguments.parser.error("argument --sha256: is the digest of a wheel, which --wheel has to name")
    wheel = installer.Wheel(path, digest) if path else None
    try:
        if path and not digest:
            begin_asking()
            if hangs(path):
                arguments.parser.error(
                    f"the mount {find_mount(path)} does not answer: name the wheel's digest with --sha256"
                )
            wheel, file = installer.read_wheel(path)
            if file != Path(path):
                print_line(f"The script only installs a wheel with the digest of ./{file}: {wheel.sha256}")
        script = installer.render_init_script(
            arguments.version or "", wheel=wheel, python=python, strict=arguments.strict
        )
    except ValueError as error:
        arguments.parser.error(str(error))
    if not wheel:
        print_line(f"warning: {installer.NAME_IS_TAKEN}")
    # Bytes, because paths may not be UTF-8, and the shell needs `\n` at the end of a line.
    write(os.fsencode(script), arguments)
    return SUCCESS


# Output


def print_json(result: object, arguments: Arguments) -> None:
    """Print a result as JSON."""
    print_result(json.dumps(result, indent=2), arguments)


def print_result(text: str, arguments: Arguments) -> None:
    """Print a result to stdout. What its encoding lacks is escaped, as Python does it for stderr."""
    write(f"{text}\n".encode(sys.stdout.encoding, "backslashreplace"), arguments)


def write(output: bytes, arguments: Arguments) -> None:
    """Write to stdout. If that fails, the command goes on, and `main` reports it at the end."""
    try:
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.buffer.write(output)
        else:  # a kernel's, where a wheel task runs a command; it takes text only
            sys.stdout.write(output.decode(sys.stdout.encoding, "surrogateescape"))
        sys.stdout.flush()
    except OSError as error:
        arguments.unwritten = error
        # What is still buffered goes nowhere. Otherwise Python fails again when it ends, with a message of its own and
        # exit code 120 (docs.python.org, `signal`, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_error(error: installer.InstallerError | UnicodeEncodeError) -> str:
    """Return an error as text."""
    if isinstance(error, UnicodeEncodeError):
        return NOT_ENCODABLE.format(ascii(error.object), error.encoding)
    return str(error)


def print_error(text: str) -> None:
    """Print an error to stderr. Its text has one sentence a line; the last line starts with `Fix:`."""
    print_line(f"{paint('error:', RED, sys.stderr)} {text}")


def print_line(text: str) -> None:
    """Print a line to stderr, if it can be written there."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def paint(text: str, color: int, stream: TextIO) -> str:
    """Color the first line of a text if the stream is a terminal and NO_COLOR is not set (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    head, newline, rest = text.partition("\n")
    return f"\033[{color}m{head}\033[0m{newline}{rest}"
