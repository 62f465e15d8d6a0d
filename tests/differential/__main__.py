"""Tries random programs: `python -m tests.differential --style mixed --seed 1 --programs 1000`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from platformdirs import user_cache_path

from tests.differential.layouts import FINDER_STYLES, MOUNT_STYLES, STYLES
from tests.differential.runner import PROGRAMS_EACH, Site, make_case
from tests.differential.shrink import describe, shrink
from tests.lab.interpreters import find_interpreters, find_running_interpreter
from tests.lab.projects import Backends, fetch_backends
from tests.lab.templates import make_once


def main() -> int:
    """Run programs, print what differs, and return whether anything did."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--style", choices=STYLES, default="mixed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first layout")
    parser.add_argument("--python", default="", help="a Python such as 3.13; the running one by default")
    parser.add_argument("--show", type=int, default=3, help="how many differences are shrunk and printed")
    chosen = parser.parse_args()
    interpreters = {each.name: each for each in find_interpreters()}
    interpreter = interpreters[chosen.python] if chosen.python else find_running_interpreter()
    differing = shown = count = 0
    started = time.monotonic()
    needed = chosen.style in FINDER_STYLES
    backends = Backends(make_once(user_cache_path("dbx-patch") / "backends", fetch_backends)) if needed else None
    with (
        tempfile.TemporaryDirectory() as folder,
        Site(Path(folder, "site"), interpreter, backends, mounted=chosen.style in MOUNT_STYLES) as site,
    ):
        for number in range(chosen.first, chosen.first + -(-chosen.programs // PROGRAMS_EACH)):
            layout, programs = make_case(chosen.seed, chosen.style, number)
            found = [each for each in site.compare(layout, programs) if each]
            count += len(programs)
            differing += len(found)
            for each in found[:1] if shown < chosen.show else []:
                shown += 1
                print(f"--- seed {chosen.seed}, layout {number}:\n{describe(shrink(site, each))}\n", flush=True)
    seconds = time.monotonic() - started
    what = f"Python {interpreter.name}, {chosen.style}, seed {chosen.seed}, {seconds:.0f} s"
    print(f"{differing} of {count} programs differ: {what}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
