"""Write the start-up wheel: this package, and a `.pth` file that starts the shim wherever the wheel is installed."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._places import STARTUP_PTH
from dbx_patch.installer._results import Shown
from dbx_patch.installer.files import capture, replace
from dbx_patch.installer.shim_files import render, write_startup_module, write_startup_pth, write_startup_start
from dbx_patch.sitecustomize_template import SHIM, STARTUP, template

START_FILE = f"{STARTUP}.start"
"""Not the name of the `.pth` file: Python 3.15 would then ignore the line there, which prints nothing if it fails."""
SUFFIX = "+startup"
"""The local version (https://packaging.python.org/specifications/version-specifiers/#local-version-identifiers).

No index can have it, and `dbx-patch==0.2.0` is satisfied by it.
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: dbx-patch {}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
KEPT = ("entry_points.txt", "top_level.txt", "licenses/LICENSE")
"""The metadata that is taken over unchanged."""
DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the wheel, the earliest that an archive can hold: the same input gives the same bytes."""


@dataclass(frozen=True, slots=True)
class StartupWheel(Shown):
    """A start-up wheel that was written."""

    path: str
    sha256: str
    """The file's digest, as `--require-hashes` takes it."""

    def __str__(self) -> str:
        return (
            f"Wrote {self.path}\n"
            f"sha256: {self.sha256}\n"
            "Copy it to a volume or a workspace folder, and list it first in the dependencies of the environment:\n"
            f"  /Volumes/CATALOG/SCHEMA/VOLUME/{Path(self.path).name}"
        )


def write_startup_wheel(folder: Path) -> StartupWheel:
    """Write the start-up wheel into a folder, which is created if it is not there.

    Raises InstallerError if this package is not installed, or the file can't be written.
    """
    content = pack(dict(list_files()))
    path = folder / f"dbx_patch-{template.VERSION}{SUFFIX}-py3-none-any.whl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(path, content, capture(path))
    except OSError as error:
        msg = f"Could not write {path}.\n{error.strerror or error}."
        raise InstallerError(msg, fix="choose another folder with `--output DIR`.") from error
    return StartupWheel(str(path), hashlib.sha256(content).hexdigest())


def pack(files: dict[str, bytes]) -> bytes:
    """Return a wheel with these files, and with the list of them (`RECORD`) at its end, as the specification has it."""
    record = f"{name_metadata()}/RECORD"
    lines = [f"{name},sha256={encode_digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files = dict(sorted(files.items())) | {record: "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()}
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:  # not compressed: other versions of zlib would give other bytes
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, on any machine
            archive.writestr(entry, content)
    return wheel.getvalue()


def encode_digest(content: bytes) -> str:
    """Return a digest as `RECORD` has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def name_metadata() -> str:
    """Return the name of the wheel's folder of metadata."""
    return f"dbx_patch-{template.VERSION}{SUFFIX}.dist-info"


def list_files() -> Iterator[tuple[str, bytes]]:
    """Yield the files of the wheel: this package, its metadata, the shim, and what starts it."""
    yield from list_package_files()
    yield from list_metadata()
    yield STARTUP_PTH, write_startup_pth()
    yield START_FILE, write_startup_start()
    yield f"{STARTUP}/__init__.py", write_startup_module()
    shim = Path(STARTUP, SHIM)
    for path, content in render(shim).items():
        yield path.as_posix(), content


def list_package_files() -> Iterator[tuple[str, bytes]]:
    """Yield the files of this package, wherever its three folders are: an editable install has them apart."""
    folders = {
        "dbx_patch": Path(sys.modules["dbx_patch"].__path__[0]),
        "dbx_patch/installer": Path(__file__).parent,
        "dbx_patch/sitecustomize_template": Path(template.__file__).parent,
    }
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            is_other_room = name == "dbx_patch" and f"dbx_patch/{below.parts[0]}" in folders
            if path.suffix in (".py", ".sh", ".typed") and not is_other_room:
                yield f"{name}/{below.as_posix()}", path.read_bytes()


def list_metadata() -> Iterator[tuple[str, bytes]]:
    """Yield the package's metadata, with the wheel's own version. Raises InstallerError if there is none."""
    found = find_distribution()
    version = f"\nVersion: {template.VERSION}{SUFFIX}\n"
    text = (found.read_text("METADATA") or "").replace(f"\nVersion: {found.version}\n", version, 1)
    yield f"{name_metadata()}/METADATA", text.encode()
    yield f"{name_metadata()}/WHEEL", WHEEL.format(template.VERSION).encode()
    for name in KEPT:
        content = found.read_text(name)
        if content is not None:
            yield f"{name_metadata()}/{name}", content.encode()


def find_distribution() -> Distribution:
    """Return the installed distribution of this package. A clone can have older metadata, of a build, beside it."""
    for found in Distribution.discover(name="dbx-patch"):
        if found.read_text("METADATA"):
            return found
    msg = "The start-up wheel can't be written.\nThis package has no metadata: it was not installed."
    raise InstallerError(msg, fix="install it with `pip install`, then run the command again.")
