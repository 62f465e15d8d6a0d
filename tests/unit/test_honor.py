"""New installs are honored as a whole, or again: after an error, an interrupt, or a finder that was half-written."""

from __future__ import annotations

import _imp
import importlib
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

FINDER = "import sys\nclass Finder:\n    find_spec = lambda *_: None\nsys.meta_path.append(Finder)\n"
A_SECOND = 1_000_000_000
"""Nanoseconds. Python takes byte code for valid if the source has the same size and was changed in the same second."""
AN_HOUR_AGO = time.time_ns() - 3600 * A_SECOND


class Layer:
    """A layer on `sys.path`, with an install that has a finder and a root."""

    def __init__(self, folder: Path, finder: str) -> None:
        self.path = folder / "site-packages"
        self.root = f"{folder}/root"
        self.module = self.path / "_editable_impl_honored.py"
        self.path.mkdir()
        self.write_finder(finder)
        self.path.joinpath("_editable_impl_honored.pth").write_text(f"import _editable_impl_honored\n{self.root}\n")
        self.age(self.path)

    def write_finder(self, text: str, changed_at: int = AN_HOUR_AGO) -> None:
        """Write the finder's module. That does not change the layer's modification time if the module is there."""
        self.module.write_text(text)
        os.utime(self.module, ns=(changed_at, changed_at))

    def age(self, path: Path) -> None:
        """Let a file or folder be an hour old."""
        os.utime(path, ns=(AN_HOUR_AGO, AN_HOUR_AGO))


@pytest.fixture
def honored(shim: Any, tmp_path: Path) -> Iterator[Layer]:
    """A layer whose installs have not been honored yet, and the only one on the path."""
    layer = Layer(tmp_path, FINDER)
    sys.path[:] = [entry for entry in sys.path if not shim.is_layer(entry)] + [str(layer.path)]
    for part in ("editables", "turns"):  # to load them is not what is tested here
        shim.load(part)
    yield layer
    sys.modules.pop("_editable_impl_honored", None)


def describe(shim: Any, layer: Layer) -> dict[str, object]:
    """Return what has become of the install."""
    finders = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") == "_editable_impl_honored"]
    return {
        "root on the path": layer.root in sys.path,
        "finders": len(finders),
        "asked after their layers": len(shim.load("turns").turns),
        "lines run": len(shim.load("turns").honored),
        "lock held": shim.loading._is_owned(),  # noqa: SLF001 - public is only `acquire`, which would hide it
    }


HONORED = {
    "root on the path": True,
    "finders": 1,
    "asked after their layers": 1,
    "lines run": 1,
    "lock held": False,
}


def test_install_is_honored_after_a_part_could_not_be_loaded(shim: Any, honored: Layer) -> None:
    """For example because the process had too many open files."""
    load = shim.load

    def fail_once(part: str) -> Any:
        shim.load = load
        raise OSError(24, "Too many open files", part)

    shim.load = fail_once
    with pytest.raises(OSError, match="Too many"):
        shim.honor_changes()
    shim.honor_changes()

    assert describe(shim, honored) == HONORED


def test_layer_that_has_changed_just_now_is_listed_again(shim: Any, honored: Layer) -> None:
    """A second change within a tick of the clock leaves the folder's modification time as it is."""
    shim.time = SimpleNamespace(**{**vars(time), "time_ns": lambda: AN_HOUR_AGO})
    shim.honor_changes()
    honored.path.joinpath("__editable__.second-1.0.pth").write_text("/the/second\n")
    honored.age(honored.path)
    shim.forget_answers()
    shim.honor_changes()

    assert "/the/second" in sys.path


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("where", ["in the module", "in its function"])
def test_interrupted_import_line_raises_and_is_run_again(shim: Any, honored: Layer, raised: str, where: str) -> None:
    """An alarm's exception may be of any kind, and `SystemExit` is what a handler of SIGTERM raises."""
    honored.write_finder(f"raise {raised}\n" if where == "in the module" else f"def install(): raise {raised}\n")
    pth = honored.path / "_editable_impl_honored.pth"
    pth.write_text(f"import _editable_impl_honored; _editable_impl_honored.install()\n{honored.root}\n")

    with pytest.raises(BaseException) as interrupted:  # noqa: PT011 - which one is compared below
        shim.find_watched("a_name_that_is_not_there")
    honored.write_finder(f"{FINDER}def install(): pass\n")
    shim.find_watched("a_name_that_is_not_there")

    assert type(interrupted.value).__name__ == raised
    assert describe(shim, honored) == HONORED


def test_exit_of_an_import_line_is_swallowed_while_the_interpreter_starts(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["site"].__spec__, "_initializing", True, raising=False)
    honored.write_finder("raise SystemExit(3)\n")

    shim.start()

    assert [event[0] for event in shim.journal] == ["import line failed", "root honored"]
    assert describe(shim, honored) == HONORED | {"finders": 0, "asked after their layers": 0, "lines run": 0}


class Interrupt:
    """Raises KeyboardInterrupt when a number of calls from the shim's code has returned, as a signal's handler does."""

    def __init__(self, shim: Any, after: int) -> None:
        self.left = after
        self.files = shim.__file__.removesuffix(".py")

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        caller = {"return": frame.f_back, "c_return": frame}.get(event)
        if caller is not None and caller.f_code.co_filename.startswith(self.files):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


TIMES = 2
"""How often this thread holds importlib's lock."""


def release_import_lock() -> int:
    """Release importlib's lock, and return how often this thread held it."""
    for held in range(10):
        try:
            _imp.release_lock()
        except RuntimeError:
            return held
    raise AssertionError


def test_interrupt_after_any_call_holds_no_lock_and_loses_no_install(shim: Any, honored: Layer) -> None:
    """`find_watched` is called with importlib's lock held, which must be held afterwards too, and as often."""
    outcomes = {}
    interrupted = True
    for after in range(1, 500):
        shim.stop()
        sys.modules.pop("_editable_impl_honored", None)
        sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__module__", "") != "_editable_impl_honored"]
        for _ in range(TIMES):
            _imp.acquire_lock()
        sys.setprofile(Interrupt(shim, after))
        try:
            shim.honor_changes()
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
        finally:
            sys.setprofile(None)
            held = release_import_lock()
        shim.honor_changes()
        outcomes[after] = describe(shim, honored) | {"importlib's lock": held}
        if not interrupted and after > 100:
            break

    expected = HONORED | {"importlib's lock": TIMES}
    assert {after: outcome for after, outcome in outcomes.items() if outcome != expected} == {}
    assert not interrupted  # the last call has been reached


def test_import_of_a_module_of_the_standard_library_asks_no_layer(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer can be on a mount, where each question is a network call. No install replaces such a module."""
    asked: list[str] = []
    posix = shim.posix

    def ask(path: str) -> os.stat_result:
        asked.append(path)
        status: os.stat_result = posix.stat(path)
        return status

    monkeypatch.setattr(shim, "posix", SimpleNamespace(**(vars(posix) | {"stat": ask})))

    for name in ("colorsys", "msvcrt", "json.tool"):
        shim.find_watched(name, ["/a/package"] if "." in name else None)
    for_python = list(asked)
    shim.find_watched("a_name_that_is_not_there")

    assert (for_python, asked) == ([], [str(honored.path)])
    assert describe(shim, honored) == HONORED


def test_layers_are_asked_again_after_a_millisecond_or_if_the_path_or_caches_change(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports come in bursts, and asking the layers costs more than all else that the shim does for one."""
    asked: list[str] = []
    posix, clock = shim.posix, SimpleNamespace(now=100.0)

    def ask(path: str) -> os.stat_result:
        asked.append(path)
        status: os.stat_result = posix.stat(path)
        return status

    monkeypatch.setattr(shim, "posix", SimpleNamespace(**(vars(posix) | {"stat": ask})))
    monkeypatch.setattr(shim, "time", SimpleNamespace(**(vars(time) | {"clock_gettime": lambda _: clock.now})))

    shim.honor_changes()  # this places a root on the path
    asked.clear()
    counts = {}
    for when, what in {
        "with a root more on the path": lambda: None,
        "at once": lambda: None,
        "after a millisecond": lambda: setattr(clock, "now", 100.0011),
        "at once again": lambda: None,
        "after a change of the path": lambda: sys.path.append("/another/folder"),
        "after invalidate_caches": shim.watcher.invalidate_caches,
    }.items():
        what()
        shim.find_watched("a_name_that_is_not_there")
        counts[when] = asked.count(str(honored.path))
        asked.clear()

    assert counts == {
        "with a root more on the path": 1,
        "at once": 0,
        "after a millisecond": 1,
        "at once again": 0,
        "after a change of the path": 1,
        "after invalidate_caches": 1,
    }


def test_nothing_of_an_import_line_runs_if_it_is_not_python(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `site`, which compiles the line before its finder's module is imported."""
    runs: list[int] = []
    monkeypatch.setattr(sys, "runs", runs, raising=False)
    honored.write_finder("import sys\nsys.runs.append(1)\n")
    honored.path.joinpath("_editable_impl_honored.pth").write_text("import _editable_impl_honored; ?3\n")

    shim.honor_changes()

    assert runs == []
    assert "import line failed" in [event[0] for event in shim.journal]


@pytest.mark.parametrize("half", ["", "class Finder:\n    def find_sp", "raise ImportError\n"])
def test_finder_that_was_half_written_is_run_when_it_is_complete(shim: Any, honored: Layer, half: str) -> None:
    """To complete a file does not change its folder's modification time."""
    honored.write_finder(half)
    shim.honor_changes()
    failed = describe(shim, honored)

    honored.write_finder(FINDER, AN_HOUR_AGO + A_SECOND)
    honored.age(honored.path)
    shim.honor_changes()

    assert (failed["finders"], failed["root on the path"], failed["lines run"]) == (0, True, 0)
    assert describe(shim, honored) == HONORED


def test_import_line_that_fails_is_run_twice_and_again_when_its_module_changes(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time, because an alarm may have raised."""
    runs: list[int] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(sys, "runs", runs, raising=False)
    monkeypatch.setattr(shim.load("turns"), "monotonic", lambda: clock.now)
    honored.write_finder("import sys\nsys.runs.append(1)\nraise ImportError('a package that it needs is missing')\n")

    counts = []
    for clock.now in (100.0, 100.5, 101.5, 103.0):
        shim.forget_answers()  # another import that is soon after would ask no layer
        shim.honor_changes()
        counts.append(len(runs))
    os.utime(honored.path)  # pip has written the module again
    honored.write_finder(FINDER, AN_HOUR_AGO + A_SECOND)
    shim.forget_answers()
    shim.honor_changes()

    assert counts == [1, 1, 2, 2]
    assert describe(shim, honored) == HONORED


@pytest.mark.parametrize("changed_at", [AN_HOUR_AGO, 0], ids=["", "in 1970"])
@pytest.mark.parametrize(("raised", "raises"), [("SystemExit", 1), ("KeyboardInterrupt", 2)])
def test_import_line_that_always_exits_raises_once(
    shim: Any, honored: Layer, raised: str, raises: int, changed_at: int
) -> None:
    """Other imports would never work again. But Ctrl-C may come twice. Reproducible images date files to 1970."""
    honored.write_finder(f"raise {raised}\n", changed_at)

    counted = 0
    for _ in range(2):
        try:
            shim.find_watched("a_name_that_is_not_there")
        except BaseException as error:  # noqa: BLE001 - the point
            counted += type(error).__name__ == raised

    assert counted == raises


def test_wait_for_an_install_happens_once_and_without_importlib_s_lock(
    shim: Any, honored: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import line of another thread imports one module after another, and each import passes our finder."""
    steps = 3
    at_step, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def pause() -> None:
        at_step.release()
        go_on.acquire(timeout=30)

    monkeypatch.setattr(sys, "pause", pause, raising=False)
    monkeypatch.setattr(sys, "meta_path", [shim.watcher, *sys.meta_path])
    monkeypatch.setattr(shim.load("turns"), "HONORED_WITHIN", 0.3)
    import_one = "    try:\n        import a_name_that_is_not_there\n    except ImportError:\n        sys.pause()\n"
    honored.write_finder(f"import sys\nfor _ in range({steps}):\n{import_one}{FINDER}")
    honoring = threading.Thread(target=shim.honor_changes)
    honoring.start()
    waits, free_after = [], []

    def acquire_import_lock(since: float) -> None:
        _imp.acquire_lock()
        free_after.append(time.monotonic() - since)
        _imp.release_lock()

    for _ in range(steps):
        assert at_step.acquire(timeout=30)
        since = time.monotonic()
        _imp.acquire_lock()
        importing = threading.Thread(target=acquire_import_lock, args=[since])
        importing.start()
        shim.honor_changes()
        waits.append(time.monotonic() - since)
        _imp.release_lock()
        importing.join(30)
        go_on.release()
    honoring.join(30)

    assert [wait >= 0.3 for wait in waits] == [True, False, False]
    assert free_after[0] < 0.2  # it did not wait for the one that waited
    assert describe(shim, honored) == HONORED


# What a process imports after it has started


class Started:
    """A process whose shim is started, with one empty layer, and projects that are installed into it."""

    def __init__(self, shim: Any, folder: Path) -> None:
        self.shim, self.folder = shim, folder
        self.layer = folder / "site-packages"
        self.layer.mkdir()
        sys.path[:] = [entry for entry in sys.path if not shim.is_layer(entry)] + [str(self.layer)]
        shim.watch()
        shim.honor_changes()

    def write_project(self, name: str, *modules: str) -> str:
        """Write a project's modules, and return its folder."""
        for module in modules:
            file = self.folder / name / module
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
        return f"{self.folder}/{name}"

    def install(self, files: dict[str, str], distribution: str = "", url: str = "") -> None:
        """Write files into the layer, and a distribution's metadata if one is named."""
        if distribution:
            info = f"{distribution}.dist-info"
            files |= {f"{info}/direct_url.json": url, f"{info}/RECORD": "".join(f"{name},,\n" for name in files)}
        for name, text in files.items():
            file = self.layer / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)

    def find(self, name: str) -> str | None:
        """Return the folder of the project that a name is imported from; None if the import fails."""
        try:
            file = importlib.import_module(name).__file__
        except ModuleNotFoundError:
            return None
        return Path(str(file)).relative_to(self.folder).parts[0]


@pytest.fixture
def started(shim: Any, tmp_path: Path) -> Iterator[Started]:
    before = set(sys.modules)
    yield Started(shim, tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith(("new_", "finder_of_")):
            del sys.modules[name]


FINDS = """\
import sys
from importlib.util import spec_from_file_location
class Finds:
    @staticmethod
    def find_spec(name, *_):
        return spec_from_file_location(name, "{folder}/new_module.py") if name == "new_module" else None
def install():
    sys.meta_path.append(Finds)
"""
A_FINDER = {"finder_of_nobody.py": FINDS, "nobody.pth": "import finder_of_nobody; finder_of_nobody.install()\n"}
PARTS_OF_A_PACKAGE = {
    "finder_of_nobody/__init__.py": "from . import hook\n",
    "finder_of_nobody/hook.py": FINDS + "install()\n",
    "nobody.pth": "import finder_of_nobody.hook\n",
}
INSTALLS = {"a path": {"nobody.pth": "{folder}\n"}, "a module": A_FINDER, "a package": PARTS_OF_A_PACKAGE}
"""How a backend that was invented for these tests installs a project."""
EDITABLE_URL = '{"dir_info": {"editable": true}, "url": "file:///nobody"}'


@pytest.mark.parametrize("how", INSTALLS)
def test_install_by_a_backend_that_nobody_knows_is_honored(started: Started, how: str) -> None:
    """By the standards: RECORD lists its files, and `direct_url.json` says that it is editable."""
    folder = started.write_project("project", "new_module.py")

    started.install(
        {name: text.replace("{folder}", folder) for name, text in INSTALLS[how].items()}, "n-1", EDITABLE_URL
    )

    assert started.find("new_module") == "project"
    assert started.shim.load("editables").is_editable(f"{folder}/new_module.py")


@pytest.mark.parametrize("how", INSTALLS)
@pytest.mark.parametrize("url", ["", EDITABLE_URL.replace("true", "false")], ids=["by hand", "not editable"])
def test_line_that_no_editable_install_has_written_is_not_honored(started: Started, how: str, url: str) -> None:
    folder = started.write_project("project", "new_module.py")

    files = {name: text.replace("{folder}", folder) for name, text in INSTALLS[how].items()}
    started.install(files, "n-1" if url else "", url)

    assert started.find("new_module") is None
    assert "finder_of_nobody" not in sys.modules
    assert (folder in sys.path, list(started.shim.journal)) == (False, [])


def test_install_is_seen_by_the_next_import_that_would_fail_without_it(started: Started) -> None:
    """At once: nothing waits until the layers can be asked again."""
    folder = started.write_project("project", "new_module.py")

    before = started.find("new_module")
    started.install({"__editable__.p-1.0.pth": f"{folder}\n"})

    assert (before, started.find("new_module")) == (None, "project")


@pytest.mark.parametrize("how", ["import", "find_spec", "from"])
def test_submodule_of_a_namespace_package_of_a_new_install_is_found_at_once(started: Started, how: str) -> None:
    one = started.write_project("one", "new_namespace/one.py", "new_namespace/inner/one.py")
    two = started.write_project("two", "new_namespace/two.py", "new_namespace/inner/two.py")
    started.install({"__editable__.one-1.0.pth": f"{one}\n"})
    first = [started.find(f"new_namespace.{name}") for name in ("one", "inner.one", "two", "inner.two")]

    started.install({"__editable__.two-1.0.pth": f"{two}\n"})
    if how == "from":
        exec("from new_namespace.inner import two", {})
    elif how == "find_spec":
        assert importlib.util.find_spec("new_namespace.inner.two") is not None

    assert first == ["one", "one", None, None]
    assert [started.find(f"new_namespace.{name}") for name in ("inner.two", "two")] == ["two", "two"]


@pytest.mark.parametrize("style", ["path", "finder"])
def test_project_that_is_installed_again_with_another_module_has_both(started: Started, style: str) -> None:
    """From the same folder: its root is on the path already, and has been listed, or its finder has run."""
    found = []
    for number, names in enumerate((["new_module"], ["new_module", "new_other"])):
        folder = started.write_project("project", *(f"{name}.py" for name in names))
        text = FINDS.replace('== "new_module"', f"in {names}").replace("new_module.py", "{name}.py")
        finder = {"finder_of_p.py": text.replace('"{folder}', f'f"{folder}')}
        line = "import finder_of_p; finder_of_p.install()" if style == "finder" else folder
        started.install((finder if style == "finder" else {}) | {"__editable__.p-1.pth": f"{line}\n"})
        for changed in (Path(folder), *started.layer.glob("finder_of_p.py")):  # the clock of file systems is a slow one
            os.utime(changed, ns=(0, AN_HOUR_AGO + number * A_SECOND))
        found.append([started.find(name) for name in ("new_module", "new_other")])
        started.layer.joinpath("__editable__.p-1.pth").unlink()

    assert found == [["project", None], ["project", "project"]]
    finders = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") == "finder_of_p"]
    assert len(finders) == (style == "finder")


def test_what_a_finder_has_not_found_is_not_editable(started: Started) -> None:
    """setuptools' modules import Python's own path finder, which finds all the others."""
    folder = started.write_project("project", "new_module.py")
    sys.path.append(started.write_project("another", "new_other.py"))
    text = f"from importlib.machinery import PathFinder\n{FINDS.replace('{folder}', folder)}"
    started.install({"__editable__.p-1.pth": "import finder_of_p; finder_of_p.install()\n", "finder_of_p.py": text})

    assert [started.find(name) for name in ("new_module", "new_other")] == ["project", "another"]

    assert started.shim.load("editables").found == {f"{folder}/new_module.py"}


def test_frozen_clock_of_another_library_stops_no_new_install(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """freezegun and others replace the functions of `time`. A copy in a lower folder would be imported."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    folder = started.write_project("project", "new_module.py")
    sys.path.append(started.write_project("another", "new_module.py"))
    assert started.find("a_name_that_is_not_there") is None

    started.install({"__editable__.p-1.0.pth": f"{folder}\n"})
    while time.clock_gettime(time.CLOCK_MONOTONIC) < started.shim.ask_again_at:
        pass

    assert started.find("new_module") == "project"


@pytest.mark.parametrize("part", ["folders", "turns"])
def test_parts_use_a_clock_that_other_libraries_leave_alone(
    started: Started, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    before = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)

    assert started.shim.load(part).monotonic() >= before
