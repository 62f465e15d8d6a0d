"""The wheels that a node installs: downloaded from the package index, or built from this repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

REPOSITORY = Path(__file__).parent.parent.parent
LOWEST = ("packaging==21.3", "platformdirs==2.5.0")
"""The oldest versions of our dependencies that we promise to work with: about what DBR 13.3 LTS has."""


class FetchError(Exception):
    """The package index does not have what a test needs, or can't be reached."""


def fill_wheelhouse(folder: Path) -> Path:
    """Put dbx-patch's wheel and what a runtime's layer needs into a folder, for pip's `--find-links`."""
    # From a copy: setuptools builds in place, where it would meet what another build left, or makes at the moment.
    with tempfile.TemporaryDirectory() as copy:
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy_sources(Path(copy)))
    for wanted in (("setuptools", "setuptools-scm", "wheel", "packaging", "platformdirs", "virtualenv"), LOWEST):
        pip("download", "--quiet", "--only-binary=:all:", "--dest", folder, *wanted)
    return folder


def copy_sources(folder: Path) -> Path:
    """Copy what the wheel is built from."""
    for name in ("src", "installer", "sitecustomize_template"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def list_sources() -> list[str]:
    """Return the files of the repository, from git or from an sdist's list."""
    if (REPOSITORY / ".git").exists():
        command = ["git", "ls-files"]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    return (REPOSITORY / "dbx_patch.egg-info/SOURCES.txt").read_text().splitlines()


def fetch_databricks_connect(release: str) -> Path:
    """Fetch a published `databricks-connect` wheel of a release such as `16.4`, into a cache outside the repository."""
    cache = user_cache_path("dbx-patch") / "databricks-connect"
    pattern = f"databricks_connect-{release}.*.whl"
    if not any(cache.glob(pattern)):
        # It asks for Python 3.12, and is only unpacked here.
        wanted = ["--python-version=3.12", "--only-binary=:all:", f"databricks-connect=={release}.*"]
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            pip("download", "--quiet", "--no-deps", "--dest", folder, *wanted)
            for wheel in Path(folder).iterdir():
                wheel.replace(cache / wheel.name)  # whole, whichever of the test processes is first
    return max(cache.glob(pattern))


def unpack_pyspark(wheel: Path, folder: Path, *names: str) -> Path:
    """Extract Databricks' own `pyspark`, or some of its files, from a wheel; return the package's folder."""
    with zipfile.ZipFile(wheel) as archive:
        every = [name for name in archive.namelist() if name.startswith("pyspark/")]
        archive.extractall(folder, [name for name in every if not names or name.removeprefix("pyspark/") in names])
    return folder / "pyspark"


def fetch_py4j(folder: Path) -> Path:
    """Install py4j, the one other package that `pyspark.worker_util` needs, into a folder."""
    pip("install", "--quiet", "--no-deps", "--target", folder, "py4j==0.10.9.7")
    return folder


def fetch_databricks_bundles(folder: Path) -> Path:
    """Install the package that has the types of Databricks' bundles into a folder."""
    pip("install", "--quiet", "--no-deps", "--target", folder, "databricks-bundles")
    return folder


def pip(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> None:
    """Run the tests' own pip. Raises FetchError with what it said if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(
            command, env={**os.environ, **(environ or {})}, capture_output=True, text=True, timeout=900, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(str(error)) from error
    if done.returncode:
        raise FetchError(done.stderr.strip() or done.stdout.strip())
