"""Runs programs, each in a forked child of an interpreter that was started once: it is copied into a layout.

The runner starts it twice, by plain Python and with the shim. Each line of standard input is the path of a program, a
list of statements; the answer is the child's exit status. The child writes to files. What a program prints names
modules, folders and exceptions, never an address or a time, so two outputs can be compared as they are.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.resources
import importlib.util
import os
import pickle  # noqa: F401 - programs use it
import pkgutil
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PLACES: dict[str, str] = {}
"""The folders of the layout, by the names that programs have for them."""
ORACLE = "oracle.py"
"""What frames of that file have for their file's name."""
TIME_LIMIT = 60
"""Seconds, after which a program that waits for itself is killed."""
quiet: list[str] | None = None
"""What modules report while threads import them, in any order."""


def at(name: str) -> str:
    """Return the path of a file in a place, such as `root1/alpha`."""
    place, _, rest = name.partition("/")
    return f"{PLACES[place]}/{rest}" if rest else PLACES[place]


def ran(name: str, who: str) -> None:
    """Report that a module's code runs: every module of a layout begins with this call."""
    line = f"  {name} runs {who}"
    if quiet is None:
        print(line)
    else:
        quiet.append(line)


def show(value: object) -> None:
    """Print a module as what is known of it, and anything else as it is."""
    if isinstance(value, type(sys)):
        path = getattr(value, "__path__", None)
        where = f"file={getattr(value, '__file__', None)!r} path={None if path is None else list(path)!r}"
        print(f"{value.__name__} is {getattr(value, 'WHO', None)!r} {where}")
    else:
        print(repr(value))


def imported(name: str) -> None:
    """Print a module that was imported."""
    show(sys.modules.get(name))


def details(name: str) -> None:
    """Print what a module has from its import."""
    module = importlib.import_module(name)
    spec: Any = module.__spec__
    print(name, *(type(each).__name__ for each in (module.__loader__, spec.loader, getattr(module, "__path__", None))))
    print(module.__package__, spec.origin, spec.has_location)
    if not str(spec.origin).startswith("/Workspace/"):  # where byte code is kept elsewhere
        print(getattr(module, "__cached__", None), spec.cached)


def show_spec(name: str) -> None:
    """Print where a module would come from."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        print(None)
    else:
        folders = spec.submodule_search_locations
        print(spec.name, spec.origin, None if folders is None else list(folders), spec.has_location)


def show_path() -> None:
    """Print the entries of `sys.path` that the layout is about."""
    print([entry for entry in sys.path if is_ours(entry) or "__editable__" in entry])


def is_ours(path: object) -> bool:
    """Return whether a path is below a place of the layout."""
    return isinstance(path, str) and any(path == place or path.startswith(f"{place}/") for place in PLACES.values())


def show_modules(modules: Iterable[pkgutil.ModuleInfo]) -> None:
    """Print what `pkgutil` lists in places of the layout."""
    for info in modules:
        folder = getattr(info.module_finder, "path", None)
        if is_ours(folder) and "dbx_patch" not in info.name:
            print(" ", info.name, info.ispkg, folder)


def iter_modules(name: str | None) -> None:
    """List the modules of a package, or all."""
    show_modules(pkgutil.iter_modules(importlib.import_module(name).__path__ if name else None))


def walk(place: str, prefix: str = "") -> None:
    """List, and import, the packages in a folder of a place or in a package, and those below."""
    path = [at(place)] if not prefix else importlib.import_module(place).__path__
    show_modules(pkgutil.walk_packages(path, prefix, onerror=lambda name: print("  no", name)))


def resources(name: str) -> None:
    """List the files of a package, and read one."""
    files = importlib.resources.files(name)
    print(sorted(each.name for each in files.iterdir() if each.name != "__pycache__"))
    print(files.joinpath("data.txt").read_text())


def unpickle(name: str, load: Callable[[bytes], Any]) -> None:
    """Load a class that a pickle names."""
    found = load(b"c" + name.encode() + b"\nThing\n.")
    print(found.__module__, found.WHO)


def forget(name: str) -> None:
    """Delete a module, and those below it, from `sys.modules`."""
    for known in list(sys.modules):
        if known == name or known.startswith(f"{name}."):
            del sys.modules[known]


def write(name: str, text: str) -> None:
    """Write a file as people do before they import it: what importlib has cached is forgotten."""
    path = Path(at(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


def remove(name: str) -> None:
    """Remove a file or a folder likewise."""
    path = Path(at(name))
    if path.is_dir():
        for below in sorted(path.rglob("*"), reverse=True):
            below.rmdir() if below.is_dir() else below.unlink()
        path.rmdir()
    else:
        path.unlink()
    importlib.invalidate_caches()


def import_in_threads(*names: str) -> None:
    """Import modules at the same time, and print what came of it, in an order that does not depend on that."""
    global quiet  # noqa: PLW0603 - a child has no other use for it
    barrier, outcomes = threading.Barrier(len(names)), [""] * len(names)

    def run(number: int, name: str) -> None:
        barrier.wait()
        try:
            outcomes[number] = str(getattr(importlib.import_module(name), "WHO", None))
        except Exception as error:  # noqa: BLE001 - a module can raise anything
            outcomes[number] = f"{type(error).__name__}: {error}"

    quiet = []
    threads = [threading.Thread(target=run, args=each) for each in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*sorted(quiet), *outcomes, sep="\n")
    quiet = None


def is_finder(finder: object) -> bool:
    """Return whether a finder is that of one editable install."""
    return str(getattr(finder, "__module__", "")).startswith(("__editable__", "_editable_skbc"))


def asked_by_itself(name: str) -> None:
    """Ask the finders of editable installs for a module, each by itself."""
    for finder in sys.meta_path:
        if is_finder(finder):
            spec = finder.find_spec(name, None)
            print(" ", spec and spec.origin)


def take_off_finders() -> None:
    """Take the finders of editable installs off `sys.meta_path`."""
    sys.meta_path[:] = [each for each in sys.meta_path if not is_finder(each)]


def run(program: str) -> None:
    """Run each statement, and print the exception that it raises, with its traceback's frames."""
    with open(program) as file:
        statements: list[str] = eval(file.read())
    names: dict[str, Any] = {"__name__": "__main__", "__file__": program}
    names.update((name, value) for name, value in globals().items() if not name.startswith("__"))
    for statement in statements:
        print(">", statement)
        try:
            exec(compile(statement, program, "exec"), names)
        except Exception as error:  # noqa: BLE001 - a module can raise anything
            print(f"{type(error).__name__}: {re.sub(' at 0x[0-9a-f]+', '', str(error))}")
            for frame in traceback.extract_tb(error.__traceback__)[1:]:
                if frame.filename != ORACLE:
                    print(f"  {frame.filename}:{frame.lineno} {frame.name}")


def serve(folder: str) -> None:
    """Run programs until there are no more."""
    answers = os.dup(1)
    builtins.ran = ran  # type: ignore[attr-defined]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(TIME_LIMIT)
            for number, name in (1, "stdout"), (2, "stderr"):
                os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            status = 1
            try:
                run(line.rstrip("\n"))
                status = 0
            except SystemExit:
                status = 3
            except BaseException:  # noqa: BLE001 - the loop is the parent's
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        os.write(answers, b"%d\n" % os.waitpid(child, 0)[1])


def main() -> None:
    """Lay out the path if this is plain Python, and serve."""
    work, oracle = sys.argv[1:]
    if oracle:
        print("started", flush=True)
        sys.stdin.readline()
    with open(f"{work}/layout") as file:
        layout: dict[str, Any] = eval(file.read())
    PLACES.update(layout["places"])
    if oracle:
        with open(oracle) as file:
            code = compile(file.read(), ORACLE, "exec")
        exec(code, {"layout": layout, "__name__": "oracle"})
    print("ready", flush=True)
    serve(work)


main()
