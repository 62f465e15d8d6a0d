"""What the self-test should find on the lab's nodes: which promises are the shim's, and how a result is read."""

from __future__ import annotations

import json
from typing import Any

FRESH, HERE = "fresh interpreter", "this process"
OF_THE_SHIM = {
    ("library code", FRESH),
    ("submodule", FRESH),
    ("inspect.getsource", FRESH),
    ("edit", FRESH),
    ("late folder", FRESH),
    ("install while running", FRESH),
    ("order above a copy", FRESH),
}
"""What fails without the shim on each node, besides both styles in the layers that Python does not open."""
OF_THE_SHIM_IN_A_WORKSPACE = {
    ("workspace: path style", FRESH),
    ("workspace: finder style", FRESH),
    ("workspace: library code", FRESH),
    ("workspace: late folder", FRESH),
}
OF_THE_SHIM_ON_A_MOUNT = OF_THE_SHIM_IN_A_WORKSPACE | {("byte-code cache", FRESH), ("mount left alone", FRESH)}
"""The last one is tried with a project that is imported."""
OF_THE_SHIM_IN_A_NOTEBOOK = {
    ("path style", HERE),
    ("finder style", HERE),
    ("library code", HERE),
    ("workspace: library code", HERE),
}
OF_PYTHON = {("start", FRESH), ("nothing else", FRESH), ("pip", FRESH)}
"""What holds without the shim, too. pip installs into the layer that Python opens."""
NOT_IN_A_COMMAND = {*OF_THE_SHIM_IN_A_NOTEBOOK, ("UDF", HERE)}
STYLES = ("path style", "finder style")
OWN = "/local_disk0/.ephemeral_nfs/envs/pythonEnv-<uuid>/"
"""The notebook's own layer, which Python opens."""


def read(output: str) -> dict[str, Any]:
    """Return a self-test's JSON, the last thing in an output."""
    found: dict[str, Any] = json.loads(output[output.index("{\n") :])
    return found


def select(result: dict[str, Any], state: str) -> set[tuple[str, str]]:
    """Return the promises in a state, each with its process, but not those that are tried in each layer."""
    return {(row["promise"], row["process"]) for row in result["promises"] if row["state"] == state} - {
        (style, FRESH) for style in STYLES
    }


def select_layers(result: dict[str, Any], state: str) -> list[str]:
    """Return the layers in which both styles are in a state, without the temporary one."""
    places = [
        {
            row["place"]
            for row in result["promises"]
            if (row["promise"], row["process"], row["state"]) == (style, FRESH, state)
        }
        for style in STYLES
    ]
    assert places[0] == places[1]
    return sorted(place for place in places[0] if "<redacted>" not in place)
