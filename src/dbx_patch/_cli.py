"""The command line: what was done goes to stdout, what went wrong to stderr."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from dbx_patch import __version__, installer
from dbx_patch._doctor import doctor
from dbx_patch._fingerprint import fingerprint
from dbx_patch.installer import render_init_script

DONE, COULD_NOT = 0, 1
"""Exit codes; argparse exits with 2 on wrong usage."""
GOOD, BAD = 32, 31
"""The terminal's colours."""

Result = installer.Installation | installer.Uninstallation | installer.Status


class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    parser: argparse.ArgumentParser
    run: Callable[[Arguments], int]
    work: Callable[[str, Arguments], Result]
    module: str
    python: list[str]
    all: bool
    json: bool
    force: bool
    dry_run: bool
    version: str
    wheel: str | None
    strict: bool


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command, and return its exit code."""
    parser, commands = make_parser(prog or "dbx-patch")
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        parser.error(f"there is no command {command!r}{suggest(command, commands)}")
    arguments, unknown = parser.parse_known_args(words, Arguments())
    if unknown:
        options = re.findall(r"--[a-z-]+", arguments.parser.format_help())
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}{suggest(unknown[0], options)}")
    return arguments.run(arguments)


def suggest(word: str, known: Sequence[str]) -> str:
    """Suggest what may have been meant."""
    close = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def make_parser(prog: str) -> tuple[argparse.ArgumentParser, list[str]]:
    """Describe the command line; return the names of its commands as well."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Makes editable Python installs work in Databricks notebooks, by a start-up file in site-packages.",
        epilog="Exit codes: 0 done, live, or healthy; 1 could not, not live, or something was found; 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"dbx-patch {__version__} ({Path(__file__).parent})")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[Arguments], int], text: str, more: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=more or f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(run=run, parser=command)
        return command

    for name, work, text in (
        ("install", install, "install the start-up file, and prove that it runs; all is put back if it does not"),
        ("uninstall", uninstall, "take it all back"),
        ("status", status, "tell whether it is live; exit code 1 if it is not"),
    ):
        command = add(name, run_for_all, text)
        command.set_defaults(work=work)
        add_pythons(command)
        add_json(command)
        if work is not status:
            command.add_argument("--dry-run", action="store_true", help="say what would be changed, and change nothing")
        if work is install:
            command.add_argument(
                "--force", action="store_true", help="replace a newer version, and files that were edited by hand"
            )
    command = add(
        "doctor",
        run_doctor,
        "tell why a module can't be imported, and what mends it",
        "Follow the import of a module in the interpreter that runs this, and name what stops it, the evidence, and "
        "the command that mends it. Changes nothing. Exit code 1 if something was found.",
    )
    command.add_argument(
        "module", metavar="MODULE", nargs="?", default="", help="the module (default: all that are installed editable)"
    )
    add_json(command)
    add(
        "fingerprint",
        run_fingerprint,
        "print what this runtime looks like, as JSON, to be sent to the developers",
        "Print what this runtime looks like, as JSON: its layers, start-up files, finders and import hooks. It holds "
        "no values, secrets, user names or paths of yours, changes nothing, and sends nothing.",
    )
    add("render", run_render, "print the start-up file, whole, for images that are built elsewhere")
    command = add(
        "init-script",
        run_init_script,
        "print a cluster init script that installs dbx-patch on every node",
        "Print a cluster init script, to be put into a volume and named in the cluster's settings.",
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--version", default=__version__, help="the version to install (default: this one, %(default)s)"
    )
    source.add_argument(
        "--wheel", metavar="PATH", help="a wheel to install instead, such as one in /Volumes; needs no index"
    )
    command.add_argument("--strict", action="store_true", help="have the launch fail if the install does")
    command.add_argument(
        "--python", metavar="PATH", default="", help="the runtime's interpreter (default: found on the node)"
    )
    return parser, list(commands.choices)


def add_pythons(command: argparse.ArgumentParser) -> None:
    """Add the options that name the interpreters that a command is about."""
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--python",
        metavar="PATH",
        action="append",
        default=[],
        help="the interpreter it is about (default: this one); may be given more than once",
    )
    which.add_argument("--all", action="store_true", help="every Python of a Databricks node, each once")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option that asks for JSON."""
    command.add_argument("--json", action="store_true", help="print the result as JSON")


# The commands


def run_for_all(arguments: Arguments) -> int:
    """Do a command's work for each interpreter that it is about."""
    pythons, left_out = installer.find_interpreters() if arguments.all else (arguments.python or [sys.executable], [])
    outcomes = [work_for(python, arguments) for python in dict.fromkeys(pythons)]
    errors = [error for error, _ in outcomes if error]
    if arguments.json:
        results = [dataclasses.asdict(result) if result else {"error": error} for error, result in outcomes]
        show_json(results if arguments.all or len(arguments.python) > 1 else results[0])
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if arguments.all and not pythons:
        show_error("no Python of a Databricks node was found; name one with --python.")
        return COULD_NOT
    worst = any(errors) or any(isinstance(result, installer.Status) and not result.live for _, result in outcomes)
    return COULD_NOT if worst else DONE


def work_for(python: str, arguments: Arguments) -> tuple[str, Result | None]:
    """Do a command's work for one interpreter; return what went wrong, or the result."""
    try:
        result = arguments.work(python, arguments)
    except installer.InstallerError as error:
        if not arguments.json:
            show_error(str(error))
        return str(error), None
    if not arguments.json:
        bad = isinstance(result, installer.Status) and not result.live
        print(paint(str(result), BAD if bad else GOOD, sys.stdout))
    return "", result


def install(python: str, arguments: Arguments) -> installer.Installation:
    """Install for an interpreter."""
    return installer.install(python, force=arguments.force, dry_run=arguments.dry_run)


def uninstall(python: str, arguments: Arguments) -> installer.Uninstallation:
    """Uninstall for an interpreter."""
    return installer.uninstall(python, dry_run=arguments.dry_run)


def status(python: str, _: Arguments) -> installer.Status:
    """Tell how the shim stands in an interpreter."""
    return installer.status(python)


def run_doctor(arguments: Arguments) -> int:
    """Say what the doctor finds."""
    try:
        report = doctor(arguments.module)
    except ValueError as error:
        arguments.parser.error(str(error))
    if arguments.json:
        show_json(report.to_json())
    else:
        for diagnosis in report.diagnoses:
            print(paint(str(diagnosis), GOOD if diagnosis.healthy else BAD, sys.stdout))
    return DONE if report.healthy else COULD_NOT


def run_fingerprint(_: Arguments) -> int:
    """Print what this runtime looks like."""
    show_json(fingerprint())
    return DONE


def run_render(_: Arguments) -> int:
    """Print the shim, whole."""
    sys.stdout.buffer.write(installer.render_bundle())
    return DONE


def run_init_script(arguments: Arguments) -> int:
    """Print an init script."""
    python = str(arguments.python or "")
    try:
        script = render_init_script(
            arguments.version, wheel=arguments.wheel or "", python=python, strict=arguments.strict
        )
    except ValueError as error:
        arguments.parser.error(str(error))
    # As bytes: a path is printed as it was given, and each line ends as the shell wants it.
    sys.stdout.buffer.write(os.fsencode(script))
    return DONE


# How it is shown


def show_json(result: object) -> None:
    """Print a result for machines."""
    print(json.dumps(result, indent=2))


def show_error(text: str) -> None:
    """Print what went wrong."""
    print(f"{paint('error:', BAD, sys.stderr)} {text}", file=sys.stderr)


def paint(text: str, colour: int, stream: TextIO) -> str:
    """Colour the first line of a text, if a person sees it and wants colours (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    head, newline, rest = text.partition("\n")
    return f"\033[{colour}m{head}\033[0m{newline}{rest}"
