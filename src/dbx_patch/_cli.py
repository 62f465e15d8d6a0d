"""The command line: what was done goes to stdout, what went wrong to stderr."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dbx_patch import __version__, installer

DONE, COULD_NOT = 0, 1
"""Exit codes; argparse exits with 2 on wrong usage."""


class Arguments(argparse.Namespace):
    """What was asked for on the command line."""

    command: str
    python: str
    json: bool


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = make_parser(prog).parse_args(argv, Arguments())
    run = {"install": run_install, "uninstall": run_uninstall, "status": run_status}[arguments.command]
    try:
        return run(arguments)
    except installer.InstallerError as error:
        if arguments.json:
            print(json.dumps({"error": str(error)}, indent=2))
        else:
            print(f"error: {error}", file=sys.stderr)
        return COULD_NOT


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Describe the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--python", metavar="PATH", default=sys.executable, help="the interpreter it is about (default: this one)"
    )
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
        commands.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    return parser


def run_install(arguments: Arguments) -> int:
    """Install, and say what was done."""
    done = installer.install(arguments.python)
    if arguments.json:
        return show_json(done)
    if done.changed:
        print(f"Installed dbx-patch {done.version} for {done.python}:")
        show_files(done.changed)
    else:
        print(f"dbx-patch {done.version} is already installed for {done.python}; nothing was changed.")
    if done.slot != 1:
        print(f"{done.host} is somebody else's; it runs as before, and then loads {done.file}.")
    print(f"Seen alive there and in a notebook environment made from it, in {done.proof_ms} ms.")
    if done.changed:
        print("Notebooks that are running now pick it up when they are restarted.")
    return DONE


def run_uninstall(arguments: Arguments) -> int:
    """Uninstall, and say what was done."""
    done = installer.uninstall(arguments.python)
    if arguments.json:
        return show_json(done)
    if done.changed:
        print(f"Uninstalled dbx-patch for {done.python}; restored or removed:")
        show_files(done.changed)
    else:
        print(f"dbx-patch is not installed for {done.python}; there is nothing to do.")
    if done.still_live:
        print(f"{done.still_live} runs there as well; to uninstall that one, run this by its own environment's Python.")
    return DONE


def run_status(arguments: Arguments) -> int:
    """Say whether the shim is live."""
    found = installer.status(arguments.python)
    code = DONE if found.live else COULD_NOT
    if arguments.json:
        show_json(found)
        return code
    version = found.version or "of an unknown version"
    if found.live:
        print(f"dbx-patch {version} is live in {found.python}, from {found.file} (slot {found.slot}).")
    elif found.file is None:
        print(f"dbx-patch is not installed for {found.python}. To install it: {install_command(found.python)}")
    elif found.disabled:
        print(f"dbx-patch {version} is installed in {found.file}, and turned off by DBX_PATCH_DISABLE.")
    else:
        cause = f"{found.shadowed_by} stands before it" if found.shadowed_by else "it is missing or broken"
        print(f"dbx-patch {version} is installed in {found.file}, but not live: {cause}.")
        print(f"To mend that: {install_command(found.python)}")
    for layer in found.layers:
        print(f"{layer['path']}{'' if layer['opened_by_site'] else '  (its .pth files are not read by Python)'}")
        for editable in layer["editables"]:
            print(f"  {Path(editable['pth']).name}: {editable['line']}")
    print("Databricks' import hooks that it patches:")
    for hook, state in found.hooks.items():
        print(f"  {hook}{f': {state}' if state else ''}")
    return code


def install_command(python: str) -> str:
    """Write the command that installs for an interpreter, whether or not it has this package itself."""
    command = [sys.executable, "-m", "dbx_patch.install"]
    return shlex.join(command if python == sys.executable else [*command, "--python", python])


def show_json(result: installer.Installation | installer.Uninstallation | installer.Status) -> int:
    """Print a result for machines."""
    print(json.dumps(dataclasses.asdict(result), indent=2))
    return DONE


def show_files(files: list[str]) -> None:
    """Print one path a line."""
    for file in files:
        print(f"  {file}")
