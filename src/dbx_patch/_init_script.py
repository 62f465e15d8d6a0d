"""Writes a cluster init script that installs dbx-patch on a node."""

from __future__ import annotations

import shlex

SCRIPT = """\
#!/bin/sh
# Installs dbx-patch on a node of a Databricks cluster. Made by: dbx-patch init-script
# It runs as root on every node, before Spark and any notebook, and may run again. It takes nothing from the cluster's
# environment variables but the runtime's environment: from DBR 19 on, standard access mode hides the others.
set -u
umask 022

version={version}
wheel={wheel}
strict={strict}
python={python}

say() {{
    printf '%s dbx-patch: %s\\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"
}}

give_up() {{
    say "$1"
    if [ "$strict" = yes ]; then
        say "The launch fails, for this script was made with --strict."
        exit 1
    fi
    say "The cluster starts without dbx-patch."
    exit 0
}}

if [ -z "$python" ]; then
    for environment in "${{DATABRICKS_ROOT_VIRTUALENV_ENV:-}}" /databricks/python /databricks/python3; do
        if [ -n "$environment" ] && [ -x "$environment/bin/python" ]; then
            python=$environment/bin/python
            break
        fi
    done
fi
[ -n "$python" ] || give_up "This node has no /databricks/python/bin/python."
[ -x "$python" ] || give_up "There is no $python."

pip() {{
    "$python" -m pip install --disable-pip-version-check --no-input --quiet --no-deps "$@" 2>&1
}}

# With --no-deps, for the runtime's own packages are not to be touched; those that dbx-patch needs are among them.
if [ -n "$wheel" ]; then
    [ -r "$wheel" ] || give_up "There is no $wheel, or it can't be read."
    said=$(pip --no-index "$wheel") || give_up "pip could not install $wheel: $said"
else
    said=$(pip "dbx-patch==$version") || give_up "pip could not install dbx-patch $version: $said"
fi
for needed in packaging platformdirs; do
    "$python" -c "import $needed" 2>/dev/null || said=$(pip "$needed") || give_up "pip could not install $needed: $said"
done

said=$("$python" -m dbx_patch.install 2>&1) || give_up "$said"
printf '%s\\n' "$said" | while IFS= read -r line; do
    say "$line"
done
exit 0
"""


def render_init_script(*, version: str, wheel: str | None = None, strict: bool = False, python: str = "") -> str:
    """Write an init script, in POSIX shell.

    It installs a version from the package index that the cluster's pip knows, or a wheel with no index at all. It never
    fails the launch of a cluster, but with `strict`. `python` is the runtime's; empty to have it found on the node.
    """
    return SCRIPT.format(
        version=shlex.quote(version),
        wheel=shlex.quote(wheel or ""),
        strict="yes" if strict else "no",
        python=shlex.quote(python),
    )
