#!/bin/sh
# A cluster init script: it installs dbx-patch, which makes editable installs work in notebooks.
# Databricks runs it as root on every node, before Spark starts.
#
# `dbx-patch init-script` prints this file with the settings filled in. To change a setting, print the script again. It
# reads no settings from the environment: from DBR 19 on, standard access mode hides most variables from init scripts.
# shellcheck disable=SC2016  # a `$` in a setting is literal

# --- settings ---
VERSION=
PACKAGE=
WHEEL=
SHA256=
STRICT=
set --
# --- end of settings ---

# A cluster waits at most this long for pip. A node that can't reach a package index needs about 100 seconds to fail.
SECONDS_FOR_PIP=300

set +e    # errors are handled where they occur, even if the caller used `sh -e`
umask 022 # everyone can read what is written, only its owner can change it

# Write lines to the log, each with a prefix and the time.
log() {
    printf '%s\n' "$1" | while IFS= read -r line; do
        printf 'dbx-patch: %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$line"
    done
}

# Log an error, one sentence a line, and end the shell that `main` runs in.
fail() {
    log "error: $1" >&2
    shift
    for sentence in "$@"; do
        log "$sentence" >&2
    done
    exit 1
}

# Run a command with its output in the log. Return its exit code.
run() {
    output=$("$@" 2>&1 </dev/null)
    code=$?
    [ -z "$output" ] || log "$output"
    return "$code"
}

# Run a command, for a limited time if the node has `timeout`, which returns 124 when that is over.
limit() {
    if command -v timeout >/dev/null; then
        set -- timeout -k 10 "$SECONDS_FOR_PIP" "$@"
    fi
    "$@"
}

# Check that the wheel has the digest that was known when this script was printed. Its volume can have another by now.
check_wheel() {
    [ -r "$WHEEL" ] || fail "There is no readable wheel at $WHEEL." \
        "Fix: upload it, and let the identity that runs this script read it."
    digest=$(limit "$python" -I -c '
import hashlib, sys
with open(sys.argv[1], "rb") as wheel:
    print(hashlib.sha256(wheel.read()).hexdigest())
' "$WHEEL" 2>&1 </dev/null)
    code=$?
    [ "$code" -ne 124 ] || fail "Reading the wheel was stopped after $SECONDS_FOR_PIP seconds." \
        "Fix: check that this node can read $WHEEL."
    [ "$code" -eq 0 ] || fail "The wheel can't be read." "$digest" \
        "Fix: check that this node can read $WHEEL."
    [ "$digest" = "$SHA256" ] || fail "$WHEEL is not the wheel that this script was printed for." \
        "Its sha256 is $digest." \
        "This script only installs the one with the sha256 $SHA256." \
        'Fix: upload that wheel, or print the script again with `dbx-patch init-script --wheel PATH`.'
}

# Return whether this package is installed in the version that is wanted. A package index can have another project of
# the same name, so one of our files has to be there too. No code of the package is run to find out.
is_installed() {
    "$python" -I -c '
import sys
from importlib.metadata import distribution
found = distribution("dbx-patch")
sys.exit(found.version != sys.argv[1] or "dbx_patch/installer/_core.py" not in map(str, found.files or ()))
' "$VERSION" 2>/dev/null
}

# Return whether a module can be imported.
is_importable() {
    "$python" -I -c "import $1" 2>/dev/null
}

# Install the packages that are named, and no others.
pip_install() {
    if [ -n "$WHEEL" ]; then
        # Offline: an index that the cluster's pip settings name may be out of reach.
        PIP_CONFIG_FILE=/dev/null
        export PIP_CONFIG_FILE
        set -- --isolated --no-index --find-links "${WHEEL%/*}/" "$@"
    fi
    # Silences a warning. It is an option of pip 22.1, and older versions ignore the variable.
    PIP_ROOT_USER_ACTION=ignore
    export PIP_ROOT_USER_ACTION
    # --no-deps: the runtime's packages keep their versions.
    # --force-reinstall: otherwise pip keeps another project of the same name and version.
    # --only-binary: building a source distribution would run its code.
    # -I: Python doesn't import from the current folder.
    set -- --disable-pip-version-check --no-input --no-cache-dir --no-warn-script-location "$@"
    set -- "$python" -I -m pip install --quiet --no-deps --force-reinstall --only-binary=:all: "$@"
    run limit "$@"
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
    [ -n "$python" ] || fail "No Python was found at any of: $*" \
        'Fix: name one with `dbx-patch init-script --python PATH`.'
    role=worker
    [ "${DB_IS_DRIVER:-}" != TRUE ] || role=driver
    log "Installing dbx-patch $VERSION for $python on a $role."

    run "$python" -I -c '' || fail "$python does not start." \
        'Fix: name another with `dbx-patch init-script --python PATH`.'
    set --
    if ! is_installed; then
        [ -z "$WHEEL" ] || check_wheel
        set -- "$PACKAGE"
    fi
    # Only what is missing: these are the requirements of pyproject.toml.
    is_importable packaging || set -- "$@" 'packaging>=21.3'
    is_importable platformdirs || set -- "$@" 'platformdirs>=2.5'
    if [ "$#" -eq 0 ]; then
        log "The package is already installed."
    else
        pip_install "$@"
        code=$?
        [ "$code" -ne 124 ] || fail "pip was stopped after $SECONDS_FOR_PIP seconds." \
            "Fix: check that this node reaches the package index, or the wheel."
        [ "$code" -eq 0 ] || fail "pip could not install $* (exit code $code)." \
            "Fix: see the output of pip above."
        if ! is_installed; then
            run "$python" -I -m pip uninstall --quiet --yes --disable-pip-version-check dbx-patch
            fail "$PACKAGE is another project in this cluster's package index." \
                "It was removed, and none of its code was run." \
                'Fix: install a wheel with `dbx-patch init-script --wheel PATH`.'
        fi
    fi

    run "$python" -I -m dbx_patch.install ${STRICT:+--strict} || fail "The installer failed." \
        "Fix: see the output of the installer above."
    # The exit code of `status` doesn't matter: the installer has verified the shim, and a user can turn it off.
    status=$("$python" -I -m dbx_patch status 2>/dev/null </dev/null)
    log "$(printf '%s\n' "$status" | head -n 2)"
    return 0
}

# In a subshell, so that an `exit` in it doesn't end this shell.
if (main "$@"); then
    exit 0
fi
if [ -n "$STRICT" ]; then
    log "dbx-patch is not installed; the cluster does not start without it (--strict)." >&2
    exit 1
fi
log "dbx-patch is not installed; the cluster starts without it." >&2
exit 0
