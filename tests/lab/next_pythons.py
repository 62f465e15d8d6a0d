"""The next Pythons, from Debian's unstable release: `python -m tests.lab.next_pythons` fetches them, some 25 MB.

Debian builds a release of Python months before another distribution does. The packages are unpacked into a cache
outside the repository, not installed: apt works on folders of its own, so nothing else of the machine changes, and no
root is needed. Their C library is newer than this machine's. So each interpreter is made to load its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

from tests.lab.templates import make_once
from tests.lab.wheels import FetchError

MINORS = range(14, 16)
"""Python 3.14 and 3.15."""
ROOT = user_cache_path("dbx-patch") / "next-pythons"
DONE = ROOT.with_name("next-pythons.done")
TOOLS = ("apt-get", "dpkg-deb", "patchelf")
SOURCES = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian unstable main\n"


def find_next_pythons() -> list[Path]:
    """Return the interpreters that have been fetched."""
    found = [ROOT / f"usr/bin/python3.{minor}" for minor in MINORS] if DONE.exists() else []
    return [python for python in found if python.exists()]


def fetch_next_pythons() -> None:
    """Fetch the interpreters, unless that has been done. Raises FetchError if it can't be done here."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        message = f"there is no {', '.join(lacking)}"
        raise FetchError(message)
    if not find_next_pythons():
        DONE.unlink(missing_ok=True)  # a person may have removed the folder alone
    make_once(ROOT, unpack)


def unpack(root: Path) -> None:
    """Download the packages, with what they depend on, and unpack them."""
    apt = root / "apt"
    for folder in ("etc/preferences.d", "lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()  # nothing is installed
    (apt / "etc/sources.list").write_text(SOURCES)
    places = {"Dir::Etc": "etc", "Dir::State": "", "Dir::State::status": "status", "Dir::Cache": ""}
    options = [option for name, place in places.items() for option in ("-o", f"{name}={apt / place}")]
    options += ["-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none"]
    run("apt-get", *options, "--quiet", "update")
    packages = [f"python3.{minor}" for minor in MINORS]
    run("apt-get", *options, "--quiet", "--yes", "--download-only", "install", *packages)
    for package in sorted((apt / "archives").glob("*.deb")):
        run("dpkg-deb", "--extract", package, root)
    shutil.rmtree(apt)
    for python in sorted((root / "usr/bin").glob("python3.*")):
        loader = run("patchelf", "--print-interpreter", python).strip()
        (libraries,) = (root / "usr/lib").glob("*/libc.so.6")
        run("patchelf", "--set-interpreter", f"{root}/usr{loader}", python)
        # The old kind of path, which also serves the libraries that the interpreter loads later.
        run("patchelf", "--force-rpath", "--set-rpath", libraries.parent, python)
        run(python, "-m", "compileall", "-q", "-x", "/test/", root / "usr/lib" / python.name)


def run(*command: str | Path) -> str:
    """Run a command and return its output. Raises FetchError with what it said if it fails."""
    environ = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise FetchError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


if __name__ == "__main__":
    try:
        fetch_next_pythons()
    except FetchError as problem:
        sys.exit(f"error: Could not fetch the next Pythons: {problem}")
    for found in find_next_pythons():
        print(run(found, "-V").strip(), "is", found)
