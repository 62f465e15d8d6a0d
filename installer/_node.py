"""Recognize a Databricks node."""

from __future__ import annotations

import os
from pathlib import Path

from dbx_patch.installer._trust import find_exposed, trusted_uids

RUNTIMES = ("databricks/python", "databricks/python3")
"""The runtime's environment, below the root of a node. The first one is a link to the second."""
LIBRARIES = "local_disk0/.ephemeral_nfs/cluster_libraries/python"
"""The environment of the cluster's libraries, likewise."""
ROOT = Path("/")


def find_node(prefix: Path) -> Path | None:
    """Return the root folder of the Databricks node that an environment belongs to; None if it is on no node.

    On a cluster that is `/`. An image that is being built, or a test, has the folders of a node below another root. If
    an untrusted user could have created them there, they do not count.
    """
    for root in prefix.parents:
        has_runtime = root != ROOT and any((root / runtime / "bin/python").exists() for runtime in RUNTIMES)
        if has_runtime and not find_exposed(root / "databricks", trusted_uids()):
            return root
    return ROOT if (ROOT / "databricks").is_dir() or os.environ.get("DATABRICKS_RUNTIME_VERSION") else None


def find_runtime(node: Path) -> Path | None:
    """Return the interpreter of the runtime's environment on a node; None if there is none."""
    pythons = (node / runtime / "bin/python" for runtime in RUNTIMES)
    return next((python for python in pythons if python.exists()), None)
