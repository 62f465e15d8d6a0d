"""Asks the doctor in the interpreter that runs this file, and prints the report as JSON.

The arguments are the folder of the package, a cookie to print before and after the report because start-up files can
print as well, and names of modules or projects. The interpreter need not have the package. Its own copy may be another
version's.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(folder: str, cookie: str, names: list[str]) -> None:
    """Print what the doctor reports about some names, each module once."""
    spec: Any = spec_from_file_location("dbx_patch", f"{folder}/__init__.py", submodule_search_locations=[folder])
    package = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    diagnoses: dict[str, Any] = {}
    for name in names:
        with suppress(ValueError):  # no such project here
            diagnoses |= {found["module"]: found for found in package.doctor(name).to_json()["diagnoses"]}
    sys.stdout.write(f"{cookie}{json.dumps(list(diagnoses.values()))}{cookie}")


if __name__ == "__main__":
    del sys.path[0]  # this file's folder
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
