"""Print the cluster init script, `init_script.sh`, with its settings filled in."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from dbx_patch.installer._node import RUNTIMES

SCRIPT = Path(__file__).with_name("init_script.sh")
SETTINGS = re.compile(r"(?<=^# --- settings ---\n).*?(?=^# --- end of settings ---$)", re.DOTALL | re.MULTILINE)
"""The lines of the script that are replaced."""
ENVIRONMENT = '${DATABRICKS_ROOT_VIRTUALENV_ENV:+"$DATABRICKS_ROOT_VIRTUALENV_ENV/bin/python"}'
"""In shell: the Python of the environment that init scripts should fill; nothing if the variable is unset."""

NAME_IS_TAKEN = """\
A package index can have another project of the name dbx-patch: PyPI has one, version 0.1.0.
Let the cluster's pip settings name an index that has this project, or use a wheel (`--wheel PATH`)."""
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wheel:
    """The one wheel that an init script installs."""

    path: str
    """Its path on the node."""
    sha256: str
    """Its digest. The script refuses a file that has another one."""


def render_init_script(
    version: str = "", *, wheel: Wheel | None = None, python: str = "", strict: bool = False, root: str = "/"
) -> str:
    """Return the init script as text, for any POSIX shell. The same arguments give the same text.

    The script installs a `version` from the package index of the cluster, or without an index a `wheel`, whose file
    name decides the version. It installs for the interpreter `python`, or for the first of the runtime's that it finds
    below `root`. If something fails, the cluster starts without dbx-patch, or with `strict` does not start.

    Raises ValueError for an invalid version or digest, a path that is not absolute, and a file that is not a wheel of
    dbx-patch.
    """
    check_path(python or "/")
    if wheel:
        version = read_version(wheel.path)
        if not DIGEST.fullmatch(wheel.sha256):
            msg = f"not a sha256 digest of 64 hexadecimal digits: {wheel.sha256!r}"
            raise ValueError(msg)
        # As a URL: pip reads a semicolon in a path as the start of a marker. pip compares the digest once more.
        package = f"file://{quote(os.fsencode(wheel.path))}#sha256={wheel.sha256}"
    else:
        version = str(Version(version))
        package = f"dbx-patch=={version}"
    values = {
        "VERSION": version,
        "PACKAGE": package,
        "WHEEL": wheel.path if wheel else "",
        "SHA256": wheel.sha256 if wheel else "",
        "STRICT": "yes" if strict else "",
    }
    candidates = [python] if python else [posixpath.join(root, runtime, "bin/python") for runtime in RUNTIMES]
    words = [*([] if python else [ENVIRONMENT]), *map(shlex.quote, candidates)]
    comments = [] if wheel else [f"# {line}" for line in NAME_IS_TAKEN.splitlines()]
    assignments = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines = [*comments, *assignments, f"set -- {' '.join(words)}"]
    settings = "".join(f"{line}\n" for line in lines)
    return SETTINGS.sub(lambda _: settings, SCRIPT.read_text("utf-8"), count=1)


def check_path(path: str) -> None:
    """Raise ValueError if a path is not absolute."""
    if not posixpath.isabs(path):
        msg = f"not an absolute path: {path}"
        raise ValueError(msg)


def read_version(path: str) -> str:
    """Return the version that a wheel's file name has.

    Raises ValueError if it is not a wheel of dbx-patch, or its path is not absolute.
    """
    check_path(path)
    name, version, *_ = parse_wheel_filename(posixpath.basename(path))
    if name != "dbx-patch":
        msg = f"not a wheel of dbx-patch: {path}"
        raise ValueError(msg)
    return str(version)


def read_wheel(path: str) -> tuple[Wheel, Path]:
    """Return a wheel with its digest, and the file that was read.

    `path` is its path on the node. Where this is not a node, the file of that name in the current folder is read: it is
    there after `pip wheel`. Raises ValueError if it is not a wheel of dbx-patch, its path is not absolute, or no
    file can be read.
    """
    read_version(path)
    name = posixpath.basename(path)
    for file in (Path(path), Path(name)):
        try:
            return Wheel(path, hashlib.sha256(file.read_bytes()).hexdigest()), file
        except OSError:
            continue
    msg = f"can't read {path} here, or {name} in this folder: name the wheel's digest with --sha256"
    raise ValueError(msg)
