"""Roots on a mount: when they are asked, how often, and what Python would answer."""

from __future__ import annotations

import _frozen_importlib_external as external
import _thread
import errno
import importlib
import json
import os
import pkgutil
import sys
import threading
from importlib.machinery import FileFinder, PathFinder
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

posix: Any = sys.modules["posix"]
LOCAL_FOLDER_HOOK = "FileFinder.path_hook.<locals>.path_hook_for_FileFinder"


class Mount:
    """A folder that counts as a mount, with a root in it, a local layer, and a clock that does not run."""

    def __init__(self, folder: Path, shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shim = shim
        self.layer = folder / "lib/site-packages"
        self.layer.mkdir(parents=True)
        self.folder = folder / "mount"
        self.root = self.folder / "first/src"
        self.folders = shim.load("folders")
        self.editables = shim.load("editables")
        monkeypatch.setattr(self.folders, "find_remote_folders", lambda: [str(self.folder)])
        self.now = 100.0
        monkeypatch.setattr(self.folders, "monotonic", lambda: self.now)
        self.asked: list[str] = []
        self.listed: list[str] = []
        self.error = 0
        self.meanwhile: Callable[[str], object] = lambda _path: None
        asked = SimpleNamespace(**vars(posix))
        asked.listdir, asked.stat = self.list_folder, self.ask_folder
        monkeypatch.setattr(self.folders, "posix", asked)
        sys.path.append(str(self.layer))
        self.add_root("first")

    def add_root(self, name: str) -> Path:
        """Install a project, and return its root."""
        root = self.folder / name / "src"
        root.mkdir(parents=True)
        (self.layer / f"__editable__.{name}-1.0.pth").write_text(f"{root}\n")
        self.editables.honor({str(self.layer): sorted(path.name for path in self.layer.glob("*.pth"))})
        return root

    def ask_folder(self, path: str) -> Any:
        """Ask a folder, and note that."""
        self.asked.append(path)
        if self.error:
            raise OSError(self.error, "a failure of the test", path)
        return posix.stat(path)

    def list_folder(self, path: str) -> list[str]:
        """List a folder, note that, and do something before the answer is used."""
        self.listed.append(path)
        names: list[str] = posix.listdir(path)
        self.meanwhile(path)
        return names

    def write(self, *names: str, text: str = "", root: Path | None = None) -> None:
        """Write files into a root."""
        for name in names:
            file = (root or self.root) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def find(self, name: str) -> str | None:
        """Return the file of a module as Python finds it on the path."""
        spec = PathFinder.find_spec(name)
        return spec.origin if spec else None

    def has(self, name: str) -> bool:
        """Return whether Python finds a module in the root, on the path."""
        return str(self.find(name)).startswith(str(self.root))

    def count(self) -> tuple[int, int]:
        """Return how many folders of the mount were asked since the last count, and how many were listed."""
        count = len(self.asked), len(self.listed)
        self.asked.clear()
        self.listed.clear()
        return count


@pytest.fixture
def mount(shim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    return Mount(tmp_path, shim, monkeypatch)


# Which paths are on a mount


@pytest.mark.parametrize(
    ("path", "is_remote"),
    [
        ("/Workspace", True),
        ("/Workspace/Users/someone/p/src", True),
        ("/.fuse-mounts/wsfs/Users", True),
        ("/Volumes/main/default/p", True),
        ("/dbfs/p", True),
        ("/Workspaces/p", False),
        ("/home/someone/Workspace/p", False),
        ("/mnt/a share/p", True),
        ("/mnt/a share", True),
        ("/mnt/a shared/p", False),
        ("/mnt/nfs/p", True),
        ("/mnt/local/p", False),
        ("/", False),
    ],
)
def test_mounts_are_known_by_name_and_by_the_table_of_mounts(
    shim: Any,
    tmp_path: Path,
    path: str,
    is_remote: bool,  # noqa: FBT001
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 1 0:1 / / rw - fuse.overlay none rw\n"
        "2 1 0:2 / /mnt/a\\040share rw shared:1 - fuse.sshfs host rw\n"
        "3 1 0:3 / /mnt/nfs rw - nfs4 host rw\n"
        "4 1 0:4 / /mnt/local rw - ext4 /dev/sda rw\n"
        "5 1 0:5 / /mnt/disk rw - fuseblk /dev/sdb rw\n"
        "a line of another kind\n"
    )
    folders = shim.load("folders")
    folders.remote_folders = ("", *folders.find_remote_folders(str(table)))

    assert bool(folders.find_mount(path)) is is_remote


def test_machine_without_a_table_of_mounts_has_the_known_ones(shim: Any, tmp_path: Path) -> None:
    folders = shim.load("folders")

    assert folders.find_remote_folders(str(tmp_path / "absent")) == []


# When a root is asked, and how often


def test_start_asks_nothing(mount: Mount) -> None:
    """To honor an install is all that a start does."""
    assert str(mount.root) in sys.path
    assert mount.count() == (0, 0)


def test_module_of_a_layer_above_does_not_reach_the_mount(mount: Mount) -> None:
    (mount.layer / "a_local_module.py").touch()
    mount.write("a_local_module.py", "json.py")

    assert mount.find("a_local_module") == f"{mount.layer}/a_local_module.py"
    assert mount.find("json") == json.__file__
    assert mount.count() == (0, 0)


def test_missing_name_lists_each_root_once_and_asks_it_once_a_second(mount: Mount) -> None:
    mount.add_root("other")
    counts = []
    for seconds in (0.0, 0.5, 0.4, 0.1, 0.9, 0.1, 100.0):
        mount.now += seconds
        for name in ("no_such_module", "another", "no_such_module"):
            assert mount.find(name) is None
        counts.append(mount.count())

    assert counts == [(2, 2), (0, 0), (0, 0), (2, 0), (0, 0), (2, 0), (2, 0)]


def test_first_root_that_has_a_name_is_the_only_one_that_is_asked(mount: Mount) -> None:
    mount.add_root("other")
    mount.write("known.py")

    assert mount.has("known")
    assert mount.asked == mount.listed == [str(mount.root)]


def test_root_is_listed_again_when_it_has_changed(mount: Mount) -> None:
    assert not mount.has("new_module")
    mount.write("new_module.py")
    mount.now += 0.9
    assert not mount.has("new_module")  # the answer serves
    mount.count()
    mount.now += 0.1

    assert mount.has("new_module")
    assert mount.count() == (1, 1)


def test_root_is_asked_at_once_when_caches_are_invalidated(mount: Mount) -> None:
    assert not mount.has("new_module")
    mount.write("new_module.py")
    assert not mount.has("new_module")
    mount.shim.watch()
    importlib.invalidate_caches()

    assert mount.has("new_module")


def test_change_of_the_path_is_no_reason_to_ask_again(mount: Mount) -> None:
    """Also not where an install has a finder."""
    (mount.layer / "__editable___other_finder.py").write_text("import sys\n")
    (mount.layer / "__editable__.other-1.0.pth").write_text("import __editable___other_finder\n")
    os.utime(mount.layer, (1, 1))  # long ago, so that it need not be listed again
    mount.shim.watch()
    mount.shim.honor_changes()
    for number in range(3):
        sys.path.append(f"{mount.layer}/folder{number}")
        assert importlib.util.find_spec("no_such_module") is None

    assert mount.count() == (1, 1)


def test_listing_is_the_set_that_an_import_asks(mount: Mount) -> None:
    """A new set for each import would make imports from lower layers slow where a root has many files."""
    assert not mount.has("no_such_module")

    assert mount.folders.list_folder(str(mount.root)) is mount.folders.list_folder(str(mount.root))


def test_first_listings_of_roots_are_asked_for_at_the_same_time(mount: Mount) -> None:
    """Each listing waits until all but the first are asked for."""
    others = [str(mount.add_root(f"other{number}")) for number in range(5)]
    together = threading.Barrier(len(others))
    mount.meanwhile = lambda path: together.wait(60) if path in others else None

    assert mount.find("no_such_module") is None
    assert sorted(mount.listed) == sorted([str(mount.root), *others])
    assert mount.count() == (6, 6)
    mount.now += 1
    assert mount.find("no_such_module") is None
    assert mount.count() == (6, 0)


@pytest.fixture
def without_threads(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can't start a thread: it has as many as it may, or is an isolated sub-interpreter."""

    def refuse(*_: object) -> int:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(mount.folders, "start_new_thread", refuse)


@pytest.mark.usefixtures("without_threads")
def test_roots_are_asked_one_after_another_where_no_thread_can_be_started(mount: Mount) -> None:
    roots = [str(mount.root), *[str(mount.add_root(f"other{number}")) for number in range(3)]]
    mount.write("last.py", root=mount.folder / "other2/src")
    asking: list[str] = []
    mount.meanwhile = lambda path: asking.append(f"{path} in {_thread.get_ident()}")

    assert mount.find("last") == f"{mount.folder}/other2/src/last.py"
    assert asking == [f"{root} in {threading.main_thread().ident}" for root in roots]
    assert mount.count() == (4, 4)


@pytest.fixture
def limited_thread(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What becomes of the threads after the first one, which is the last that this process may start."""
    started: list[object] = []
    start = _thread.start_new_thread

    def start_one(*args: Any) -> int:
        if started:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        started.append(args)
        return start(*args)

    monkeypatch.setattr(mount.folders, "start_new_thread", start_one)
    yield started
    assert len(started) == 1


@pytest.mark.usefixtures("limited_thread")
def test_roots_for_which_no_thread_is_left_are_asked_all_the_same(mount: Mount) -> None:
    for number in range(3):
        mount.add_root(f"other{number}")

    assert mount.find("no_such_module") is None
    assert mount.count() == (4, 4)


def test_error_in_one_of_the_threads_hides_no_other_root(mount: Mount) -> None:
    bad, good = (mount.add_root(name) for name in ("bad", "good"))
    mount.write("in_good.py", root=good)

    def fail(path: str) -> None:
        if path == str(bad):
            raise OSError(errno.EIO, "a failure of the test", path)

    mount.meanwhile = fail

    assert mount.find("in_good") == f"{good}/in_good.py"
    assert mount.folders.listings[str(bad)][0] is None


def test_roots_on_another_mount_are_not_asked_before_their_turn(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """That mount may hang."""
    other = mount.add_root("other")
    monkeypatch.setattr(mount.folders, "find_remote_folders", lambda: [str(mount.root.parent), str(other.parent)])
    mount.shim.forget_answers()
    mount.folders.ask_together(str(mount.root))

    assert mount.count() == (0, 0)


def test_folders_of_a_package_are_no_reason_to_ask_roots(mount: Mount) -> None:
    mount.add_root("other")
    mount.write("project/__init__.py")
    spec = PathFinder.find_spec("project")
    assert spec is not None
    mount.count()

    assert PathFinder.find_spec("project.no_such_module", spec.submodule_search_locations) is None
    assert mount.count() == (0, 0)


@pytest.fixture
def layer(mount: Mount) -> Path:
    """A layer on the mount, with a library."""
    layer = mount.folder / "environment/lib/site-packages"
    layer.mkdir(parents=True)
    (layer / "a_library.py").touch()
    sys.path.append(str(layer))
    mount.folders.watch_layer(str(layer))
    return layer


def test_layer_on_a_mount_is_searched_as_a_root_is_and_its_installs_are_honored(mount: Mount, layer: Path) -> None:
    (layer / "__editable__.other-1.0.pth").write_text(f"{mount.folder}/other\n")
    assert mount.count() == (0, 0)

    assert mount.find("a_library") == f"{layer}/a_library.py"
    assert sys.path[sys.path.index(str(layer)) + 1] == f"{mount.folder}/other"


@pytest.mark.parametrize("style", ["path", "finder"])
def test_layer_on_a_mount_is_asked_once_a_second(mount: Mount, layer: Path, style: str) -> None:
    line = f"{mount.folder}/other" if style == "path" else "import __editable___other_finder"
    (layer / "__editable___other_finder.py").write_text("import sys\n")
    (layer / "__editable__.other-1.0.pth").write_text(f"{line}\n")
    assert mount.find("a_library") is not None
    assert mount.find("no_such_module") is None
    mount.count()

    assert mount.find("a_library") is not None
    assert mount.find("no_such_module") is None
    assert mount.count() == (0, 0)
    mount.now += 1
    assert mount.find("a_library") is not None
    assert mount.asked.count(str(layer)) == 1
    assert mount.listed == []


# What is found


NAMES = ["one", "two"]
TREES = st.lists(
    st.sampled_from(
        [
            f"{name}{end}"
            for name in NAMES
            for end in (
                ".py",
                ".pyc",
                ".abi3.so",
                "",
                "/x",
                "/__init__.py",
                "/__init__.pyc",
                "/__init__.abi3.so",
                "/one.py",
            )
        ]
    ),
    unique=True,
    max_size=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=TREES)
def test_answers_are_those_of_python(mount: Mount, tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for name in files:
        file = folder / name
        if not file.exists() and not file.parent.is_file():
            file.parent.mkdir(exist_ok=True)
            file.touch()
    pythons = make_finder(folder, FileFinder)
    ours = make_finder(folder, mount.folders.MountFinder)

    for name in ("package.one", "package.two", "package.three"):
        assert describe(ours.find_spec(name)) == describe(pythons.find_spec(name))


def make_finder(folder: Path, kind: Any) -> Any:
    """Return a finder of a folder, with the loaders that Python's own has."""
    (hook,) = [hook for hook in sys.path_hooks if getattr(hook, "__qualname__", "") == LOCAL_FOLDER_HOOK]
    details: Sequence[Any] = dict(zip(hook.__code__.co_freevars, hook.__closure__ or (), strict=True))[
        "loader_details"
    ].cell_contents
    return kind(str(folder), *details)


def describe(spec: Any) -> Any:
    """Return what two specs have in common if they are of the same module."""
    if spec is None:
        return None
    loader = [kind for kind in type(spec.loader).__mro__ if kind.__name__ != "CachingLoader"]
    return spec.name, spec.origin, spec.submodule_search_locations, spec.has_location, loader


def test_module_that_is_written_into_a_package_is_found_within_a_second(mount: Mount) -> None:
    mount.write("project/__init__.py", "project/first.py")
    spec = PathFinder.find_spec("project")
    assert spec is not None
    path = spec.submodule_search_locations
    assert PathFinder.find_spec("project.first", path) is not None
    mount.write("project/second.py")
    assert PathFinder.find_spec("project.second", path) is None
    mount.now += 1

    assert PathFinder.find_spec("project.second", path) is not None


def test_module_that_is_removed_is_not_found(mount: Mount) -> None:
    """Python asks the file itself, whatever the listing says."""
    mount.write("project/__init__.py", "project/first.py")
    spec = PathFinder.find_spec("project")
    assert spec is not None
    assert PathFinder.find_spec("project.first", spec.submodule_search_locations) is not None
    (mount.root / "project/first.py").unlink()

    assert PathFinder.find_spec("project.first", spec.submodule_search_locations) is None


def test_folder_of_a_package_is_listed_once_for_all_its_modules(mount: Mount) -> None:
    mount.write("project/__init__.py", *[f"project/module{number}.py" for number in range(30)])
    spec = PathFinder.find_spec("project")
    assert spec is not None
    mount.count()

    for number in range(30):
        assert PathFinder.find_spec(f"project.module{number}", spec.submodule_search_locations) is not None

    assert mount.count() == (0, 0)


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENOTCONN, errno.EIO, errno.ENOENT, errno.ENODEV])
def test_outage_ends_within_a_second(mount: Mount, error: int) -> None:
    mount.write("project/__init__.py", "project/first.py")
    spec = PathFinder.find_spec("project")
    assert spec is not None
    mount.now += 2
    mount.error = error
    assert not mount.has("project")
    assert PathFinder.find_spec("project.first", spec.submodule_search_locations) is None
    mount.error = 0
    mount.now += 1.0

    assert mount.has("project")
    assert PathFinder.find_spec("project.first", spec.submodule_search_locations) is not None


def test_outage_is_asked_about_once_a_second(mount: Mount) -> None:
    mount.error = errno.EIO
    for name in ["project", "another"] * 10:
        assert not mount.has(name)
    assert mount.count() == (1, 0)
    assert [event[0] for event in mount.shim.journal] == ["root honored", "root unavailable"]
    mount.now += 1.0

    assert not mount.has("project")
    assert mount.count() == (1, 0)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_failure_of_the_process_is_raised(mount: Mount, error: int) -> None:
    mount.write("project/__init__.py")
    mount.error = error
    with pytest.raises(OSError, match="a failure of the test"):
        mount.has("project")
    mount.error = 0

    assert mount.has("project")


def test_finder_on_a_mount_that_fails_has_the_error_as_the_cause_of_the_failed_import(mount: Mount) -> None:
    def find_spec(name: str, *_: object) -> None:
        if name == "of_a_finder":
            raise PermissionError(errno.EACCES, "no credential")

    owner = SimpleNamespace(find_spec=find_spec)
    sys.meta_path.append(owner)
    mount.shim.load("turns").add_turn({"layer": str(mount.layer), "pth": "a.pth"}, find_spec, owner)
    mount.shim.watch()

    with pytest.raises(ModuleNotFoundError, match="No module named 'of_a_finder'") as raised:
        __import__("of_a_finder")

    assert raised.value.name == "of_a_finder"
    assert isinstance(raised.value.__cause__, PermissionError)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_failure_of_the_process_in_a_finder_is_raised(mount: Mount, error: int) -> None:
    """Code that imports takes ModuleNotFoundError for a module that is not installed."""

    def find_spec(name: str, *_: object) -> None:
        if name == "of_a_finder":
            raise OSError(error, "a failure of the test")

    owner = SimpleNamespace(find_spec=find_spec)
    sys.meta_path.append(owner)
    mount.shim.load("turns").add_turn({"layer": str(mount.layer), "pth": "a.pth"}, find_spec, owner)
    mount.shim.watch()

    with pytest.raises(OSError, match="a failure of the test"):
        __import__("of_a_finder")


def test_what_a_finder_finds_on_a_mount_is_searched_as_a_root_is(mount: Mount) -> None:
    mount.write("package/__init__.py", "package/module.py")
    folder = str(mount.root / "package")
    spec: Any = external.spec_from_file_location(
        "package", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )

    mount.shim.load("turns").remember(spec)

    below = PathFinder.find_spec("package.module", [folder])
    assert below is not None
    assert type(spec.loader) is type(below.loader) is mount.shim.load("cache").CachingLoader
    assert mount.count() == (1, 1)


def test_namespace_package_of_two_roots_is_whole(mount: Mount) -> None:
    mount.write("spread/first.py")
    other = mount.add_root("other")
    mount.write("spread/second.py", root=other)

    spec = PathFinder.find_spec("spread")

    assert spec is not None
    assert sorted(spec.submodule_search_locations or ()) == sorted([f"{mount.root}/spread", f"{other}/spread"])


def test_namespace_package_gets_the_portion_of_a_root_that_is_back(mount: Mount, tmp_path: Path) -> None:
    """It was imported while the root was away. Nothing fails that would have it looked for again."""
    mount.write("project/__init__.py", "spread_portions/second.py")
    local = tmp_path / "local/spread_portions"
    local.mkdir(parents=True)
    sys.path.append(str(local.parent))
    mount.error = errno.EIO
    assert not mount.has("project")
    spread = __import__("spread_portions")
    del sys.modules["spread_portions"]
    assert list(spread.__path__) == [str(local)]
    mount.error = 0
    mount.now += 2.0
    assert mount.has("project")

    assert set(spread.__path__) == {str(local), f"{mount.root}/spread_portions"}


def test_stop_gives_the_folders_back_to_python(mount: Mount) -> None:
    mount.write("project/__init__.py")
    assert mount.has("project")
    assert type(sys.path_importer_cache[str(mount.root)]) is mount.folders.MountFinder
    mount.shim.stop()

    assert pkgutil.get_importer(str(mount.root)).__class__ is FileFinder


# Other threads


@pytest.mark.parametrize("module", ["in_root", "package", "package.module", "spread", "spread.module"])
def test_caches_that_another_thread_invalidates_hide_nothing(mount: Mount, module: str) -> None:
    """Whenever it does: after each listing here."""
    mount.write("in_root.py", "package/__init__.py", "package/module.py", "spread/module.py")
    list_folder = mount.folders.list_folder

    def list_and_invalidate(folder: str) -> object:
        names = list_folder(folder)
        mount.shim.forget_answers()
        return names

    mount.folders.list_folder = list_and_invalidate
    name, _, below = module.partition(".")
    spec = PathFinder.find_spec(name)
    assert spec is not None
    assert not below or PathFinder.find_spec(module, spec.submodule_search_locations) is not None


def test_folder_on_a_local_disk_is_not_absent_while_another_thread_invalidates_caches(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").touch()
    finder = make_finder(tmp_path, mount.folders.RootFinder)
    find_spec = FileFinder.find_spec

    def find_and_invalidate(self: FileFinder, *args: Any) -> object:
        spec = find_spec(self, *args)
        FileFinder.invalidate_caches(self)
        return spec

    monkeypatch.setattr(FileFinder, "find_spec", find_and_invalidate)

    assert finder.find_spec("first") is not None
    assert finder.find_spec("second") is not None


def test_imports_go_on_while_another_thread_invalidates_caches(mount: Mount) -> None:
    names = [f"module{number}" for number in range(200)]
    mount.write("package/__init__.py", *[f"package/{name}.py" for name in names])
    mount.shim.watch()
    done: list[bool] = []

    def invalidate() -> None:
        while not done:
            importlib.invalidate_caches()

    thread = threading.Thread(target=invalidate)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        found = [importlib.util.find_spec(f"package.{name}") for name in names]
    finally:
        done.append(True)
        thread.join()
        sys.setswitchinterval(interval)
        sys.modules.pop("package", None)

    assert None not in found
