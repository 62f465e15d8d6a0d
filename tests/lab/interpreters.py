"""The CPython interpreters of this machine that the tests run against."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab.next_pythons import find_next_pythons

MINORS = range(10, 14)
"""Python 3.10 to 3.13: DBR 13.3 LTS to 19.x, and one to come. `next_pythons` has those after it."""
OLDEST, NEWEST = (f"3.{minor}" for minor in (MINORS[0], MINORS[-1]))


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that environments can be made from."""

    python: Path
    minor: int
    debian: bool
    """Whether Debian or Ubuntu built it: their `site` has dist-packages folders."""

    @property
    def name(self) -> str:
        """A name for test reports, such as `3.12` or `3.11-debian`."""
        return f"3.{self.minor}-debian" if self.debian else f"3.{self.minor}"

    @property
    def sort_key(self) -> tuple[int, str]:
        """The order in reports."""
        return self.minor, self.name


@functools.cache
def find_interpreters() -> list[Interpreter]:
    """Return one interpreter of each version, from pyenv, uv or PATH, and Debian's own if there is one."""
    found: dict[str, Interpreter] = {}
    for python in [Path(sys.executable), *candidates(*(f"python3.{minor}" for minor in MINORS))]:
        described = describe(python)
        if described is not None and described.minor in MINORS:
            found.setdefault(described.name, described)
    return sorted(found.values(), key=lambda interpreter: interpreter.sort_key)


@functools.cache
def find_next_interpreters() -> list[Interpreter]:
    """Return the interpreters of the next Pythons that have been fetched. Only the tests of the core run on them."""
    return [described for python in find_next_pythons() if (described := describe(python)) is not None]


@functools.cache
def find_running_interpreter() -> Interpreter:
    """Return the interpreter that runs the tests, or the newest one if that is not a supported Python."""
    running = describe(Path(sys.executable))
    return running if running is not None and running.minor in MINORS else find_interpreters()[-1]


def candidates(*names: str) -> list[Path]:
    """Return the paths at which interpreters of some names may be."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    installed = [python for name in names for folder in (pyenv, uv) for python in sorted(folder.glob(f"*/bin/{name}"))]
    on_path = [Path(python) for name in names if (python := shutil.which(name))]
    system = [Path("/usr/bin", name) for name in names if Path("/usr/bin", name).exists()]
    return [*installed, *on_path, *system]


def describe(python: Path) -> Interpreter | None:
    """Return a description of an interpreter; None if it does not start, as pyenv's shim for a disabled version."""
    code = (
        "import sys as p, sysconfig as s; print(p.base_prefix, p.version_info[1], 'deb_system' in s.get_scheme_names())"
    )
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    if done.returncode:
        return None
    prefix, minor, debian = done.stdout.split()
    base = Path(prefix, "bin", f"python3.{minor}")
    return Interpreter(base.resolve(), int(minor), debian == "True") if base.exists() else None
