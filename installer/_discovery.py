"""Find the interpreters of a node that notebooks and executors use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbx_patch.installer._errors import InstallerError, explain
from dbx_patch.installer._interpreter import NOTEBOOK, plain_environ, probe
from dbx_patch.installer._receipts import list_receipts
from dbx_patch.installer._trust import find_exposed, trusted_uids

ENVIRONMENTS = ("databricks/python", "databricks/python3", "local_disk0/.ephemeral_nfs/cluster_libraries/python")
"""The runtime's environment, and the environment of the cluster's libraries."""
NOTEBOOKS = f"local_disk0/.ephemeral_nfs/{NOTEBOOK}"
"""The environments of the notebooks that are attached now."""


def find_interpreters(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> tuple[list[str], list[str]]:
    """List the interpreters below a root folder, each once, with those they were created from; and what was skipped.

    Each line about a skipped one has the interpreter and the reason. An interpreter has to be started to describe
    itself. Root must not run a file that another user could have placed there, so such interpreters are skipped.
    """
    found: dict[tuple[Path, Path], str] = {}
    skipped: list[str] = []
    seen: set[Path] = set()
    candidates = deque(list_candidates(root, environ))
    while candidates:
        python = candidates.popleft()
        if python in seen:
            continue
        seen.add(python)
        try:
            exposed = find_exposed(python, trusted_uids())
            if exposed:
                skipped.append(f"{python}: other users can modify {exposed}")
                continue
            interpreter = probe(str(python), plain_environ())
        except InstallerError as error:
            skipped.append(" ".join(error.problem.splitlines()).rstrip("."))
            continue
        except OSError as error:
            skipped.append(explain(error).rstrip("."))
            continue
        if not interpreter.purelib.is_dir():
            skipped.append(f"{python}: its site-packages folder does not exist: {interpreter.purelib}")
            continue
        found.setdefault((interpreter.prefix, interpreter.purelib), str(python))
        if interpreter.base:
            candidates.append(interpreter.base)
    return list(found.values()), skipped


def list_candidates(root: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """List the places where a node has interpreters, if there is a file."""
    folders = [root / folder for folder in ENVIRONMENTS]
    if environ.get("DATABRICKS_ROOT_VIRTUALENV_ENV"):
        folders.insert(0, Path(environ["DATABRICKS_ROOT_VIRTUALENV_ENV"]))
    pythons = [folder / "bin/python" for folder in (*folders, *sorted(root.glob(NOTEBOOKS)))]
    if environ.get("PYSPARK_PYTHON"):
        pythons.append(Path(environ["PYSPARK_PYTHON"]))
    pythons += list_receipts()
    yield from (python for python in pythons if python.is_absolute() and python.exists())
