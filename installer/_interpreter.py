"""Asks an interpreter about itself, by starting it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbx_patch.installer._errors import InstallerError
from dbx_patch.sitecustomize_template import template

PROBE = Path(__file__).with_name("_probe.py")
TEMPLATE = Path(template.__file__)
OLDEST = (3, 9)
"""The oldest Python whose syntax the shim keeps to."""
TIMEOUT = 120
"""Seconds; a start takes some milliseconds, and on a network disk some seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an interpreter said of itself as it started."""

    python: str
    """The interpreter that was asked, as it was named."""
    version: tuple[int, ...]
    """Such as `(3, 12, 1)`."""
    prefix: Path
    """The environment, with links resolved."""
    purelib: Path
    """The folder that pip installs into, with links resolved."""
    base: Path | None
    """The interpreter that its environment was made from; None if it is none of an environment."""
    cache_tag: str
    """What its byte code files are marked with, such as `cpython-312`."""
    magic: bytes
    """What its byte code files begin with."""
    sitecustomizes: tuple[Path, ...]
    """Each file on the path that can answer `import sitecustomize`, the one that does so first."""
    live: dict[str, Any] | None
    """The running shim's `file`, `version` and `hooks`, if there is one."""
    layers: tuple[dict[str, Any], ...]
    """The layers on its path, each with `path`, `opened_by_site` and `editables`."""
    has_virtualenv: bool
    """Whether `virtualenv` can make environments from it."""
    stderr: str
    """What it wrote to stderr; a start that is well writes nothing."""


def ask(python: str, environ: dict[str, str] | None = None) -> Answer:
    """Start an interpreter and have it describe itself.

    `environ` is the environment it is started in, the current one if None. Raises InstallerError if it can't be
    started, is no CPython, or is too old.
    """
    cookie = secrets.token_hex(16)
    done = run([python, "-B", str(PROBE), str(TEMPLATE), cookie], environ)
    before, _, rest = done.stdout.partition(cookie)
    answer, found, _ = rest.partition(cookie)
    if done.returncode or not found:
        msg = f"{python} can't be started, or not be used: {last_line(done.stderr or before) or 'it said nothing'}"
        raise InstallerError(msg)
    facts = json.loads(answer)
    version = tuple(facts["version"])
    if facts["implementation"] != "cpython" or version < OLDEST:
        name = f"{facts['implementation']} {'.'.join(map(str, version))}"
        msg = f"{python} is {name}; dbx-patch supports CPython {OLDEST[0]}.{OLDEST[1]} and newer."
        raise InstallerError(msg)
    return Answer(
        python=python,
        version=version,
        prefix=Path(facts["prefix"]).resolve(),
        purelib=Path(facts["purelib"]).resolve(),
        base=Path(facts["base"]) if facts["base"] else None,
        cache_tag=facts["cache_tag"],
        magic=bytes.fromhex(facts["magic"]),
        sitecustomizes=tuple(Path(file) for file in facts["sitecustomizes"]),
        live=facts["live"],
        layers=tuple(facts["layers"]),
        has_virtualenv=facts["has_virtualenv"],
        stderr=done.stderr,
    )


def run(command: list[str], environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is text whatever bytes it holds. Raises InstallerError if it can't start."""
    try:
        return subprocess.run(
            command,
            env=environ,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{command[0]} can't be started: {error}"
        raise InstallerError(msg) from error


def plain_environ() -> dict[str, str]:
    """Give the current environment without what changes how Python starts, so that an answer holds for every start."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DBX_PATCH_", "__PYVENV"))
    }


def last_line(text: str) -> str:
    """Give the last line of a traceback, which says what went wrong."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
