"""`results.py FOLDER` prints the results in a folder together: a row for each promise, a column for each compute.

The exit code is 1 if a promise failed somewhere, or a result is missing.
"""

import json
import sys
from pathlib import Path

MARKS = {"failed": "✗", "passed": "✓", "not applicable": "\N{EN DASH}"}
"""What is shown for a promise that was tried in several places is the first of these."""
COMPUTE = (
    "dedicated",
    "standard",
    "environments",
    "serverless_notebook",
    "serverless_script",
    "serverless_wheel",
    "pipeline",
)
"""The jobs of `databricks.yml`."""


def main(folder: Path) -> bool:
    """Print the table, and return whether every result is there and says that the self-test passed."""
    found = {name: json.loads(file.read_text()) for name in COMPUTE if (file := folder / f"{name}.json").exists()}
    states = {name: [(row["promise"], row["state"]) for row in result["promises"]] for name, result in found.items()}
    promises = list(dict.fromkeys(promise for rows in states.values() for promise, _ in rows))
    width = max(map(len, promises), default=0)
    print("  ".join([" " * width, *found]))
    for promise in promises:
        cells = {
            name: next((mark for state, mark in MARKS.items() if (promise, state) in rows), "")
            for name, rows in states.items()
        }
        print("  ".join([f"{promise:<{width}}", *(f"{mark:^{len(name)}}" for name, mark in cells.items())]).rstrip())
    for name, result in found.items():
        print(f"{name}: {result['live']}")
    for name in COMPUTE:
        if name not in found:
            print(f"{name}: there is no result")
    return len(found) == len(COMPUTE) and all(result["passed"] for result in found.values())


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1])))
