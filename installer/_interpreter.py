"""Start interpreters, and have them describe themselves."""

from __future__ import annotations

import contextlib
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
"""The oldest Python that can run the shim's syntax."""
TIMEOUT = 120
"""Seconds. A start takes milliseconds, and on a network disk some seconds."""
NOTEBOOK = "envs/pythonEnv-*"
"""The end of the path of a notebook's environment."""
NAME_ANOTHER = "name another interpreter with `--python PATH`."


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter, as it described itself when it was started."""

    python: str
    """The path that the user named."""
    version: tuple[int, ...]
    """Such as `(3, 12, 1)`."""
    prefix: Path
    """The environment, with links resolved."""
    purelib: Path
    """The folder that pip installs into, with links resolved."""
    base: Path | None
    """The interpreter that the environment was created from; None if this is not a virtual environment."""
    cache_tag: str
    """The part of the byte-code files' names that is the Python's, such as `cpython-312`."""
    magic: bytes
    """The first bytes of its byte-code files."""
    sitecustomizes: tuple[Path, ...]
    """The files on the path that can answer `import sitecustomize`. The first one does."""
    live: dict[str, Any] | None
    """The running shim's `file`, `version` and `hooks`; None if no shim runs."""
    layers: tuple[dict[str, Any], ...]
    """The layers on its path, each with `path`, `opened_by_site` and `editables`."""
    has_virtualenv: bool
    """Whether it can import `virtualenv`, and create environments with it."""
    stderr: str
    """What it wrote to stderr; normally nothing."""

    @property
    def is_notebook(self) -> bool:
        """Whether its environment is a notebook's own."""
        return self.prefix.match(NOTEBOOK)


def probe(python: str, environ: dict[str, str] | None = None) -> Interpreter:
    """Start an interpreter and return its description of itself.

    It is started in the environment `environ`, or in the current one if None. Raises InstallerError if it can't be
    started, is not CPython, or is too old.
    """
    # Other start-up files can print as well, so the answer is what is between two cookies nobody could print before.
    cookie = secrets.token_hex(16)
    done = run([python, "-B", str(PROBE), str(TEMPLATE), cookie], environ)
    before, _, rest = done.stdout.partition(cookie)
    answer, found, _ = rest.partition(cookie)
    if done.returncode or not found:
        reason = last_line(done.stderr or before) or "It printed nothing"
        msg = f"{python} does not work as a Python interpreter.\n{reason.rstrip('.')}."
        raise InstallerError(msg, fix=NAME_ANOTHER)
    facts = json.loads(answer)
    version = tuple(facts["version"])
    if facts["implementation"] != "cpython" or version < OLDEST:
        name = f"{facts['implementation']} {'.'.join(map(str, version))}"
        msg = f"{python} is {name}.\ndbx-patch supports CPython {OLDEST[0]}.{OLDEST[1]} and newer."
        raise InstallerError(msg, fix=NAME_ANOTHER)
    return Interpreter(
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
    """Run a command and return how it ended. Raises InstallerError if it can't start, or takes too long.

    Its output is text whatever bytes it prints.
    """
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            encoding="utf-8",
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        except BaseException:
            leave(process)
            raise
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
    except subprocess.TimeoutExpired as error:
        reason = f"It did not end within {TIMEOUT} seconds"
        cause: Exception = error
    except OSError as error:
        reason = str(error.strerror or error)
        cause = error
    msg = f"{command[0]} can't be started.\n{reason}."
    raise InstallerError(msg, fix=NAME_ANOTHER) from cause


def leave(process: subprocess.Popen[str]) -> None:
    """Kill a process. It is not waited for if it does not end: it may wait for a mount that does not answer."""
    process.kill()
    for pipe in filter(None, (process.stdout, process.stderr)):
        pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def plain_environ() -> dict[str, str]:
    """Return the environment without the variables that change how Python starts.

    What an interpreter does in this environment, it does for every user.
    """
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DBX_PATCH_", "__PYVENV"))
    }


def last_line(text: str) -> str:
    """Return the last line of a text: of a traceback, the error itself."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
