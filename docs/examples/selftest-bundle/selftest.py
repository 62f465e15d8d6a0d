"""The script task: `selftest.py FILE` writes the result of the self-test to FILE."""

import json
import sys
from pathlib import Path

import dbx_patch

found = dbx_patch.selftest()
Path(sys.argv[1]).write_text(json.dumps(found.to_json(), indent=2))
print(found)
