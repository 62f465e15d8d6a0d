"""The command line: what was done goes to stdout, what went wrong to stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dbx_patch import __version__, installer
from dbx_patch._init_script import render_init_script

DONE, COULD_NOT = 0, 1
"""Exit codes; argparse exits with 2 on wrong usage."""


NOTEBOOK = "there, and in notebook environments made from it,"
Result = installer.Installation | installer.Uninstallation | installer.Status


class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    command: str
    python: list[str]
    all: bool
    json: bool
    force: bool
    dry_run: bool
    version: str
    wheel: str | None
    strict: bool


Run = Callable[[str, Arguments], Result]


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command for each interpreter that it is about, and return its exit code."""
    parser = make_parser(prog)
    arguments = parser.parse_args(argv, Arguments())
    if arguments.command == "init-script":
        return run_init_script(arguments, parser)
    if arguments.command == "render":
        sys.stdout.buffer.write(installer.render_bundle())
        return DONE
    commands: dict[str, Run] = {"install": run_install, "uninstall": run_uninstall, "status": run_status}
    pythons, left_out = installer.find_interpreters() if arguments.all else (arguments.python or [sys.executable], [])
    outcomes = [run_for(python, commands[arguments.command], arguments) for python in dict.fromkeys(pythons)]
    errors = [error for error, _ in outcomes if error]
    if arguments.json:
        results = [dataclasses.asdict(result) if result else {"error": error} for error, result in outcomes]
        show_json(results if arguments.all or len(arguments.python) > 1 else results[0])
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if arguments.all and not pythons:
        print("error: no Python of a Databricks node was found; name one with --python.", file=sys.stderr)
        return COULD_NOT
    worst = any(errors) or any(isinstance(result, installer.Status) and not result.live for _, result in outcomes)
    return COULD_NOT if worst else DONE


def run_for(python: str, run: Run, arguments: Arguments) -> tuple[str, Result | None]:
    """Run a command for one interpreter; return what went wrong, or the result."""
    try:
        return "", run(python, arguments)
    except installer.InstallerError as error:
        if not arguments.json:
            print(f"error: {error}", file=sys.stderr)
        return str(error), None


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Describe the command line."""
    common = argparse.ArgumentParser(add_help=False)
    which = common.add_mutually_exclusive_group()
    which.add_argument(
        "--python",
        metavar="PATH",
        action="append",
        default=[],
        help="the interpreter it is about (default: this one); may be given more than once",
    )
    which.add_argument("--all", action="store_true", help="every Python of a Databricks node, each once")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    parser = argparse.ArgumentParser(
        prog=prog or "dbx-patch",
        description="Makes editable Python installs work in Databricks notebooks, by a start-up file in site-packages.",
        epilog="Exit codes: 0 done, or live; 1 could not, or not live; 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"dbx-patch {__version__} ({Path(__file__).parent})")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in {
        "install": "install the start-up file, and prove that it runs; all is put back if it does not",
        "uninstall": "take it all back",
        "status": "tell whether it is live; exit code 1 if it is not",
    }.items():
        command = commands.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
        if name != "status":
            command.add_argument("--dry-run", action="store_true", help="say what would be changed, and change nothing")
        if name == "install":
            command.add_argument(
                "--force", action="store_true", help="replace a newer version, and files that were edited by hand"
            )
    text = "print the start-up file, whole, for images that are built elsewhere"
    commands.add_parser("render", help=text, description=f"{text[0].upper()}{text[1:]}.")
    script = commands.add_parser(
        "init-script",
        help="print a cluster init script that installs dbx-patch on every node",
        description="Print a cluster init script, to be put into a volume and named in the cluster's settings.",
    )
    source = script.add_mutually_exclusive_group()
    source.add_argument(
        "--version", default=__version__, help="the version to install (default: this one, %(default)s)"
    )
    source.add_argument(
        "--wheel", metavar="PATH", help="a wheel to install instead, such as one in /Volumes; needs no index"
    )
    script.add_argument("--strict", action="store_true", help="have the launch fail if the install does")
    script.add_argument(
        "--python", metavar="PATH", default="", help="the runtime's interpreter (default: found on the node)"
    )
    return parser


def run_init_script(arguments: Arguments, parser: argparse.ArgumentParser) -> int:
    """Print an init script."""
    python = str(arguments.python or "")
    try:
        script = render_init_script(
            arguments.version, wheel=arguments.wheel or "", python=python, strict=arguments.strict
        )
    except ValueError as error:
        parser.error(str(error))
    # As bytes: a path is printed as it was given, and each line ends as the shell wants it.
    sys.stdout.buffer.write(os.fsencode(script))
    return DONE


def run_install(python: str, arguments: Arguments) -> installer.Installation:
    """Install, and say what was done."""
    done = installer.install(python, force=arguments.force, dry_run=arguments.dry_run)
    if arguments.json:
        return done
    if done.kept:
        print(f"dbx-patch {done.version} is installed for {python}, which is newer than {__version__}; it was kept.")
        print("To replace it, run the same with --force.")
        return done
    if done.dry_run:
        print(f"This would install dbx-patch {done.version} for {python} (slot {done.slot}), and write or remove:")
        show_files(done.changed or ["nothing"])
        return done
    if done.changed:
        print(f"Installed dbx-patch {done.version} for {done.python}:")
        show_files(done.changed)
    else:
        print(f"dbx-patch {done.version} is already installed for {done.python}; nothing was changed.")
    for reason in done.passed_over:
        print(f"A better place could not be had: {reason}.")
    if done.slot == installer.Slot.FOREIGN:
        print(f"{done.host} is somebody else's; it runs as before, and then loads {done.file}.")
    where = "there, which is good for this environment alone," if done.slot == installer.Slot.PTH else NOTEBOOK
    print(f"Seen alive {where} in {done.proof_ms} ms.")
    if done.changed:
        print("Notebooks that are running now pick it up when they are restarted.")
    return done


def run_uninstall(python: str, arguments: Arguments) -> installer.Uninstallation:
    """Uninstall, and say what was done."""
    done = installer.uninstall(python, dry_run=arguments.dry_run)
    if arguments.json:
        return done
    if done.dry_run and done.changed:
        print(f"This would uninstall dbx-patch for {python}, and restore or remove:")
        show_files(done.changed)
    elif done.changed:
        print(f"Uninstalled dbx-patch for {done.python}; restored or removed:")
        show_files(done.changed)
    else:
        print(f"dbx-patch is not installed for {done.python}; there is nothing to do.")
    if done.still_live:
        print(f"{done.still_live} runs there as well; to uninstall that one, run this by its own environment's Python.")
    return done


def run_status(python: str, arguments: Arguments) -> installer.Status:
    """Say whether the shim is live."""
    found = installer.status(python)
    if arguments.json:
        return found
    version = found.version or "of an unknown version"
    if found.live:
        slot = f" (slot {found.slot})" if found.slot else ""
        print(f"dbx-patch {version} is live in {found.python}, from {found.file}{slot}.")
    elif found.file is None:
        print(f"dbx-patch is not installed for {found.python}. To install it: {installer.name_command(found.python)}")
    elif found.disabled:
        print(f"dbx-patch {version} is installed in {found.file}, and turned off by DBX_PATCH_DISABLE.")
    else:
        cause = f"{found.shadowed_by} stands before it" if found.shadowed_by else "it is missing or broken"
        print(f"dbx-patch {version} is installed in {found.file}, but not live: {cause}.")
        print(f"To mend that: {installer.name_command(found.python)}")
    for layer in found.layers:
        print(f"{layer['path']}{'' if layer['opened_by_site'] else '  (its .pth files are not read by Python)'}")
        for editable in layer["editables"]:
            print(f"  {Path(editable['pth']).name}: {editable['line']}")
    print("Databricks' import hooks that it patches:")
    for hook, state in found.hooks.items():
        print(f"  {hook}{f': {state}' if state else ''}")
    return found


def show_json(result: object) -> None:
    """Print a result for machines."""
    print(json.dumps(result, indent=2))


def show_files(files: list[str]) -> None:
    """Print one path a line."""
    for file in files:
        print(f"  {file}")
