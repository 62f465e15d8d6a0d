"""Finds the Python interpreters of a node that a notebook or an executor can come to use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._interpreter import ask, plain_environ
from dbx_patch.installer._receipts import list_receipts
from dbx_patch.installer._trust import find_exposed, own

ENVIRONMENTS = ("databricks/python", "databricks/python3", "local_disk0/.ephemeral_nfs/cluster_libraries/python")
"""The runtime's environment, and that of the cluster's libraries."""
NOTEBOOKS = "local_disk0/.ephemeral_nfs/envs/pythonEnv-*"
"""The environments that notebooks have by now."""


def find_interpreters(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> tuple[list[str], list[str]]:
    """List the interpreters below a root folder, each once, with those they are made from; and why others are left out.

    An interpreter is started to be asked. So root starts none that somebody else may have put there.
    """
    found: dict[tuple[Path, Path], str] = {}
    left_out: list[str] = []
    seen: set[Path] = set()
    candidates = deque(list_candidates(root, environ))
    while candidates:
        python = candidates.popleft()
        if python in seen:
            continue
        seen.add(python)
        try:
            exposed = find_exposed(python, own())
            if exposed:
                left_out.append(f"{python}: others than its owner may change {exposed}")
                continue
            answer = ask(str(python), plain_environ())
        except (InstallerError, OSError) as error:
            left_out.append(str(error))
            continue
        if not answer.purelib.is_dir():
            left_out.append(f"{python}: it has no site-packages, {answer.purelib} is not there")
            continue
        found.setdefault((answer.prefix, answer.purelib), str(python))
        if answer.base:
            candidates.append(answer.base)
    return list(found.values()), left_out


def list_candidates(root: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """List where a node's interpreters are."""
    folders = [root / folder for folder in ENVIRONMENTS]
    if environ.get("DATABRICKS_ROOT_VIRTUALENV_ENV"):
        folders.insert(0, Path(environ["DATABRICKS_ROOT_VIRTUALENV_ENV"]))
    pythons = [folder / "bin/python" for folder in (*folders, *sorted(root.glob(NOTEBOOKS)))]
    if environ.get("PYSPARK_PYTHON"):
        pythons.append(Path(environ["PYSPARK_PYTHON"]))
    pythons += list_receipts()
    yield from (python for python in pythons if python.is_absolute() and python.exists())
