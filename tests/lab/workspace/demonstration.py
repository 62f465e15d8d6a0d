"""Shows to a person what imports ask the workspace mount: `python -m tests.lab --workspace`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.node import OFF
from tests.lab.wheels import FetchError, fill_wheelhouse
from tests.lab.workspace import Workspace, find_missing
from tests.lab.workspace.console import Console, ConsoleError
from tests.lab.workspace.editables import FINDERS, IN_RUNTIME, MODULES, PACKAGES, add_everything
from tests.lab.workspace.kernel import WorkspaceKernel, install_wheels
from tests.lab.workspace.measure import CACHED, MISSING, UNRELATED, Cost, measure_code, measure_many_modules
from tests.lab.workspace.mount import ERRORS
from tests.lab.workspace.namespace import NamespaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.lab.interpreters import Interpreter

IMPORT_SOON = """\
import time
deadline = time.monotonic() + 2
while True:
    try:
        import {name}
        break
    except ImportError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
"""
"""Imports a module within two seconds."""
PATIENCE = 20
"""Seconds after which something is taken to hang."""


def demonstrate(interpreter: Interpreter, latency: float) -> int:
    """Build a node, and print what happens on its mount. Return 1 if that is not what it should be."""
    if lacking := find_missing():
        print(f"error: This machine lacks {lacking}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dbx-patch-lab-") as folder:
        root = Path(folder).resolve()
        (root / "wheels").mkdir()
        try:
            with step(f"Building a node from CPython {interpreter.name}, at /databricks in a namespace of its own"):
                wheelhouse = fill_wheelhouse(root / "wheels")
                workspace = Workspace(root / "node", interpreter, wheelhouse)
            with workspace:
                with step(f"Installing editable: {len(IN_RUNTIME) + 1} projects by path, {len(FINDERS)} by a finder"):
                    add_everything(workspace)
                with step("Installing ipykernel"):
                    install_wheels(workspace, "ipykernel")
                with step("Installing the shim"):
                    workspace.install_shim()
                return show(workspace, latency)
        except FetchError as error:
            print(f"\nerror: Could not download the packages of a node: {error}", file=sys.stderr)
            return 1
        except NamespaceError as error:
            print(f"\nerror: Could not mount a file system: {error}", file=sys.stderr)
            return 1


def show(workspace: Workspace, latency: float) -> int:
    """Print calls and times without the shim and with it, then what a mount does that hangs or fails."""
    print(
        f"\nEach answer of /Workspace takes {latency:g} ms, and the kernel keeps it for {CACHED:g} s.\n"
        f"{'':44}  {'without the shim':>20}  {'with it':>20}"
    )
    rows: dict[str, Callable[[Mapping[str, str]], Cost]] = {
        "start an interpreter": partial(measure_start, workspace, latency),
        "start a notebook's kernel": partial(measure_kernel, workspace, latency),
        UNRELATED: partial(measure_code, workspace, UNRELATED, latency),
        "look for a module that is not there": partial(measure_code, workspace, MISSING, latency),
        "the same, 5 times": partial(measure_code, workspace, repeat(MISSING), latency),
    }
    more = {title: print_row(title, measure(OFF), measure({})) for title, measure in rows.items()}
    many = f"import {PACKAGES * MODULES} modules in {PACKAGES} packages"
    without = measure_many_modules(workspace, latency, shim=False)
    with_it = measure_many_modules(workspace, latency, shim=True)
    print_row(f"{many}, first", without[0], with_it[0])
    print_row("the same, byte code cached", without[1], with_it[1])
    print()
    workspace.remount(cached=0)
    works = [
        *show_hanging(workspace),
        *(show_outage(workspace, error) for error in ERRORS),
        *(calls <= 0 for title, calls in more.items() if title.startswith(("start", "import"))),
    ]
    return 0 if all(works) else 1


def print_row(title: str, without: Cost, with_it: Cost) -> int:
    """Print what something cost, and return how many more calls it took with the shim."""
    columns = [f"{cost.calls:,} calls, {cost.seconds:.2f} s" for cost in (without, with_it)]
    print(f"{title:44}  {columns[0]:>20}  {columns[1]:>20}", flush=True)
    return with_it.calls - without.calls


def measure_start(workspace: Workspace, latency: float, environ: Mapping[str, str]) -> Cost:
    """Start an interpreter of a notebook, and end it."""
    workspace.remount(cached=CACHED).latency(latency)
    done = workspace.plain_notebook.run("pass", environ, check=True)
    return Cost(len(done.calls), done.seconds)


def measure_kernel(workspace: Workspace, latency: float, environ: Mapping[str, str]) -> Cost:
    """Start a kernel, until it has run an empty cell."""
    mount = workspace.remount(cached=CACHED)
    mount.latency(latency)
    mark, started = mount.mark(), time.monotonic()
    with WorkspaceKernel(workspace, environ) as kernel:
        kernel.run("pass")
        return Cost(seconds=time.monotonic() - started, calls=len(mount.calls(mark)))


def repeat(code: str) -> str:
    """Return code that runs other code five times."""
    indented = "".join(f"    {line}\n" for line in code.splitlines())
    return f"for _ in range(5):\n{indented}"


def show_hanging(workspace: Workspace) -> Iterator[bool]:
    """Let the mount hang, and try what does not need it, and what does."""
    print("While /Workspace hangs:")
    notebook = workspace.plain_notebook
    with workspace.mount.hanging():
        for what, code in {"an interpreter starts": "pass", f"`{UNRELATED}`": UNRELATED}.items():
            yield say(what, partial(notebook.run, code, check=True, timeout=PATIENCE))
    with Console(workspace) as console:
        with workspace.mount.hanging():
            console.send(f"import {IN_RUNTIME[0]}.first; answer = 'it works'")
            waits = not say(f"`import {IN_RUNTIME[0]}.first`", partial(console.receive, 2), "waits for the mount")
        yield waits and say("the same import, when the mount answers again", partial(console.receive, PATIENCE))


def show_outage(workspace: Workspace, error: str) -> bool:
    """Let the mount answer with an error for a while, and import before, meanwhile and after."""
    names = (IN_RUNTIME[1], FINDERS[1])
    print(f"While /Workspace answers {error}, after {' and '.join(names)} were imported:")
    with Console(workspace) as console:
        for name in names:
            console.run(f"import {name}.first")
        later = [f"{name}.second" for name in names]
        with workspace.mount.broken(error):
            failed = [not say(f"`import {name}`", partial(console.run, f"import {name}")) for name in later]
        works = [
            say(f"`import {name}`, after it", partial(console.run, IMPORT_SOON.format(name=name))) for name in later
        ]
    return all([*failed, *works])


def say(what: str, attempt: Callable[[], object], late: str = "HANGS") -> bool:
    """Try something, and print whether it worked and how long it took."""
    started = time.monotonic()
    outcome = "works"
    try:
        attempt()
    except (TimeoutError, subprocess.TimeoutExpired):
        outcome = late
    except ConsoleError as error:
        outcome = f"fails: {error}"
    print(f"    {what}: {outcome} ({time.monotonic() - started:.2f} s)", flush=True)
    return outcome == "works"


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    print(f"{title} …", end="", flush=True)
    started = time.monotonic()
    yield
    print(f" {time.monotonic() - started:.1f} s", flush=True)
