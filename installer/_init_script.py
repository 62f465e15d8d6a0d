"""Print the cluster init script, `init_script.sh`, with its settings filled in."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from pathlib import Path
from urllib.parse import quote

from packaging.utils import parse_wheel_filename
from packaging.version import Version

SCRIPT = Path(__file__).with_name("init_script.sh")
SETTINGS = re.compile(r"(?<=^# --- settings ---\n).*?(?=^# --- end of settings ---$)", re.DOTALL | re.MULTILINE)
"""The lines of the script that are replaced."""
ENVIRONMENT = '${DATABRICKS_ROOT_VIRTUALENV_ENV:+"$DATABRICKS_ROOT_VIRTUALENV_ENV/bin/python"}'
"""In shell: the Python of the environment that init scripts should fill; nothing if the variable is unset."""
PYTHONS = ("databricks/python/bin/python", "databricks/python3/bin/python")
"""Where a runtime has its Python, below the root of the file system."""


def render_init_script(
    version: str, *, wheel: str = "", python: str = "", strict: bool = False, root: str = "/"
) -> str:
    """Return the init script as text, for any POSIX shell. The same arguments give the same text.

    The script installs a `version` from the package index of the cluster, or without an index the `wheel` at a path on
    the node, whose file name decides the version. It installs for the interpreter `python`, or for the first of the
    runtime's that it finds below `root`. If something fails, the cluster starts without dbx-patch, or with `strict`
    does not start.

    Raises ValueError for an invalid version, a path that is not absolute, and a file that is not a wheel of dbx-patch.
    """
    for path in (wheel, python):
        if path and not posixpath.isabs(path):
            msg = f"not an absolute path: {path}"
            raise ValueError(msg)
    if wheel:
        name, wheel_version, *_ = parse_wheel_filename(posixpath.basename(wheel))
        if name != "dbx-patch":
            msg = f"not a wheel of dbx-patch: {wheel}"
            raise ValueError(msg)
        version = str(wheel_version)
        # As a URL: pip reads a semicolon in a path as the start of a marker.
        package = f"file://{quote(os.fsencode(wheel))}"
    else:
        version = str(Version(version))
        package = f"dbx-patch=={version}"
    values = {"VERSION": version, "PACKAGE": package, "WHEEL": wheel, "STRICT": "yes" if strict else ""}
    candidates = [python] if python else [posixpath.join(root, path) for path in PYTHONS]
    words = [*([] if python else [ENVIRONMENT]), *map(shlex.quote, candidates)]
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()] + [f"set -- {' '.join(words)}"]
    settings = "".join(f"{line}\n" for line in lines)
    return SETTINGS.sub(lambda _: settings, SCRIPT.read_text("utf-8"), count=1)
