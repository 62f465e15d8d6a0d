"""Describe an interpreter as JSON. The interpreter in question runs this file.

The arguments are the shim's template, and a cookie to print before and after the answer, because other start-up files
can print as well. Python 3.6 can parse this file, so an interpreter that is too old reports its version and does not
fail with a SyntaxError.
"""

import json
import os
import sys
import sysconfig
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import MAGIC_NUMBER, module_from_spec, spec_from_loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_template(path: str) -> "Any":
    """Return the shim as a library that does not start: its functions read layers the way the shim does."""
    loader = SourceFileLoader("dbx_patch_template", path)
    module = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]  # never None here
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def find_sitecustomizes(entries: "list[str]") -> "list[str]":
    """List the files that can answer `import sitecustomize`, in the path's order."""
    found = []
    for entry in entries:
        spec = PathFinder.find_spec("sitecustomize", [entry])
        if spec is not None and spec.origin is not None:
            found.append(spec.origin)
    return found


def find_base() -> "str | None":
    """Return the interpreter that this virtual environment was created from; None if this is not one."""
    if sys.prefix == sys.base_prefix:
        return None
    # until 3.10 is dropped: it guesses `_base_executable` from the environment's own name, and that may not exist
    for base in (getattr(sys, "_base_executable", ""), os.path.realpath(sys.executable)):
        if base != sys.executable and os.path.exists(base):
            return base
    return None


def describe(template: str) -> "dict[str, Any]":
    """Return what the installer has to know about this interpreter."""
    live: "Any" = sys.modules.get("dbx_patch_sitecustomize")
    facts: "dict[str, Any]" = {
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "cache_tag": sys.implementation.cache_tag,
        "magic": MAGIC_NUMBER.hex(),
        "version": list(sys.version_info[:3]),
        "prefix": sys.prefix,
        "base": find_base(),
        "purelib": sysconfig.get_path("purelib"),
        "live": None,
    }
    if facts["version"] < [3, 9] or facts["implementation"] != "cpython":
        return facts
    if getattr(live, "started", False):
        # The shim may be another version's. All have `started` and `VERSION`; the first builds had a `__file__`.
        file = getattr(live, "__file__", None) or live.__spec__.origin
        facts["live"] = {"file": file, "version": live.VERSION, "hooks": getattr(live, "hook_states", {})}
    shim = load_template(template)
    # This script's folder and the roots were not on the path yet when `site` looked for a `sitecustomize`.
    part = getattr(live, "loaded", {}).get("editables")
    later = {os.path.dirname(os.path.abspath(__file__)), *getattr(part, "added_roots", ())}
    facts["sitecustomizes"] = find_sitecustomizes([entry for entry in sys.path if entry and entry not in later])
    # A root can be on a mount, which may hang.
    facts["has_virtualenv"] = (
        PathFinder.find_spec("virtualenv", [entry for entry in sys.path if entry not in getattr(part, "roots", ())])
        is not None
    )
    editables = shim.load("editables")
    opened = shim.load("standards").find_opened_layers()
    facts["layers"] = []
    for layer in filter(shim.is_layer, sys.path):
        found = editables.read_editables(layer) if os.path.isdir(layer) else []
        facts["layers"].append({"path": layer, "opened_by_site": layer in opened, "editables": found})
    return facts


if __name__ == "__main__":
    _, template, cookie = sys.argv
    sys.stdout.write(cookie + json.dumps(describe(template)) + cookie)
