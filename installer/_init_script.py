"""Writes the cluster init script that installs this package on every node."""

from __future__ import annotations

import os
import posixpath
import shlex
from urllib.parse import quote

from packaging.utils import parse_wheel_filename
from packaging.version import Version

DEPENDENCIES = {"packaging": "packaging>=21.3", "platformdirs": "platformdirs>=2.5"}
"""What the package imports, and how pip is asked for it where it is missing: as `pyproject.toml` has it."""

SECONDS_FOR_PIP = 300
"""What a cluster waits for pip at most, where there is a `timeout`; a node that can't reach an index needs some 100."""
ENVIRONMENT = '${DATABRICKS_ROOT_VIRTUALENV_ENV:+"$DATABRICKS_ROOT_VIRTUALENV_ENV/bin/python"}'
"""The Python of the environment that a cluster names as the runtime's, for the shell; nothing where it names none."""

HEAD = """\
#!/bin/sh
# A cluster init script: it installs dbx-patch, which makes editable installs work in notebooks.
# Databricks runs it as root on every node, before Spark starts. `dbx-patch init-script` has printed it; to change its
# settings print another, for it reads none from the environment: clusters may hide theirs from init scripts.
# shellcheck disable=SC2016  # a `$` in a setting stands for itself
"""

BODY = r"""
set +e # each failure is looked at where it happens, whoever runs this with `-e`
umask 022 # all may read what is written, and its owner alone may write it

# Write to the log: each line with a prefix and the time.
say() {
    printf '%s\n' "$1" | while IFS= read -r line; do
        printf 'dbx-patch: %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$line"
    done
}

fail() {
    say "error: $1" >&2
    exit 1
}

# Run a command with its output in the log; return its exit code.
run() {
    output=$("$@" 2>&1 </dev/null)
    code=$?
    [ -z "$output" ] || say "$output"
    return "$code"
}

# Whether this package is there, in the version that is wanted. An index may have another project's of the same name, so
# a file says that it is this one; nothing of the package is run to find out.
is_there() {
    "$python" -I -c '
import sys
from importlib.metadata import distribution
found = distribution("dbx-patch")
sys.exit(found.version != sys.argv[1] or "dbx_patch/installer/_core.py" not in map(str, found.files or ()))
' "$VERSION" 2>/dev/null
}

# Install what is named, and nothing else: with --no-deps pip leaves the runtime's other packages as they are, whatever
# version somebody asks for. The pip is the interpreter's own, and -I keeps it from importing the current folder. Only
# what is missing or no good is named, so it is replaced: pip would keep it if its version is the same. And it has to be
# a wheel, because a build would run its code.
pip_install() {
    if [ -n "$WHEEL" ]; then
        # Offline: a cluster's settings of pip name places that need not be within reach.
        PIP_CONFIG_FILE=/dev/null
        export PIP_CONFIG_FILE
        set -- --isolated --no-index --find-links "$WHEELS" "$@"
    fi
    # An option of pip 22.1; by this name, older ones pass over it.
    PIP_ROOT_USER_ACTION=ignore
    export PIP_ROOT_USER_ACTION
    set -- --disable-pip-version-check --no-input --no-cache-dir --no-warn-script-location "$@"
    set -- "$python" -I -m pip install --quiet --no-deps --force-reinstall --only-binary=:all: "$@"
    if command -v timeout >/dev/null; then
        set -- timeout -k 10 "$SECONDS_FOR_PIP" "$@"
    fi
    run "$@"
}

main() {
    set -u
    python=
    for candidate in "$@"; do
        if [ -x "$candidate" ]; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "no Python is at any of: $*"
    role=worker
    [ "${DB_IS_DRIVER:-}" != TRUE ] || role=driver
    say "dbx-patch $VERSION for $python, on a $role"

    run "$python" -I -c '' || fail "$python does not start"
    set --
    if ! is_there; then
        [ -z "$WHEEL" ] || [ -r "$WHEEL" ] || fail "there is no wheel that can be read at $WHEEL"
        set -- "$PACKAGE"
    fi
@missing@    if [ "$#" -eq 0 ]; then
        say "the package is there already"
    else
        pip_install "$@"
        code=$?
        [ "$code" -ne 124 ] || fail "pip was stopped after $SECONDS_FOR_PIP seconds"
        [ "$code" -eq 0 ] || fail "pip could not install $* (exit code $code)"
        if ! is_there; then
            run "$python" -I -m pip uninstall --quiet --yes --disable-pip-version-check dbx-patch
            fail "$PACKAGE is another project's in this cluster's package index; it was not run, and is removed"
        fi
    fi

    run "$python" -I -m dbx_patch.install || fail "the installer failed"
    # Its verdict is no failure: somebody may have turned it off, and the installer has seen it alive.
    status=$("$python" -I -m dbx_patch status 2>/dev/null </dev/null)
    say "$(printf '%s\n' "$status" | head -n 1)"
    return 0
}

# In a shell of its own, so that nothing that ends it ends this one.
if (main "$@"); then
    exit 0
fi
if [ -n "$STRICT" ]; then
    say "dbx-patch is not installed; the cluster does not start without it (--strict)" >&2
    exit 1
fi
say "dbx-patch is not installed; the cluster starts without it" >&2
exit 0
"""

MISSING = """\
    "$python" -I -c 'import {name}' 2>/dev/null || set -- "$@" '{requirement}'
"""


def render_init_script(
    version: str, *, wheel: str = "", python: str = "", strict: bool = False, root: str = "/"
) -> str:
    """Write the init script, for any POSIX shell.

    It installs the `version` that the cluster's package index has, or without any index the `wheel` at a path on the
    node, which then says the version; for the interpreter `python`, or for that of the runtime, looked for below
    `root`. It lets the cluster start whatever happens, but with `strict`.

    Raises ValueError for a version that is none, a path that is not absolute, and a wheel of something else.
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
        # As a URL, since pip takes a path with a semicolon for a requirement with a marker.
        package = f"file://{quote(os.fsencode(wheel))}"
    else:
        version = str(Version(version))
        package = f"dbx-patch=={version}"
    settings = {
        "VERSION": version,
        "PACKAGE": package,
        "WHEEL": wheel,
        "WHEELS": posixpath.dirname(wheel),
        "STRICT": "yes" if strict else "",
        "SECONDS_FOR_PIP": str(SECONDS_FOR_PIP),
    }
    found = [posixpath.join(root, "databricks", name, "bin/python") for name in ("python", "python3")]
    pythons = [shlex.quote(path) for path in ([python] if python else found)]
    if not python:
        pythons.insert(0, ENVIRONMENT)
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    missing = "".join(MISSING.format(name=name, requirement=wanted) for name, wanted in DEPENDENCIES.items())
    return f"{HEAD}{assignments}set -- {' '.join(pythons)}\n{BODY.replace('@missing@', missing)}"
