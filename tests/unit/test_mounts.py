"""Roots on a mount: which names they are asked for, what a package's folder is asked, and what Python would answer."""

from __future__ import annotations

import _frozen_importlib_external as external
import errno
import pkgutil
import sys
from importlib.machinery import FileFinder, PathFinder
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

posix: Any = sys.modules["posix"]
LOCAL_FOLDER_HOOK = "FileFinder.path_hook.<locals>.path_hook_for_FileFinder"


class Mount:
    """A folder that counts as a mount, with a root in it, a local layer, and a clock that does not run."""

    def __init__(self, folder: Path, shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shim = shim
        self.layer = folder / "lib/site-packages"
        self.layer.mkdir(parents=True)
        self.root = folder / "mount/project/src"
        self.root.mkdir(parents=True)
        self.mounts = shim.load("mounts")
        self.mounts.NOBODY += (shim.__file__.removesuffix(".py"),)  # our code, which names its files here
        self.mounts.remote_folders[:] = ["", str(folder / "mount")]
        self.editables = shim.load("editables")
        shim.layers[str(self.layer)] = None
        self.now = 100.0
        monkeypatch.setattr(self.mounts, "monotonic", lambda: self.now)
        self.listed: list[str] = []
        self.error = 0
        asked = SimpleNamespace(**vars(posix))
        asked.listdir = self.list_folder
        monkeypatch.setattr(self.mounts, "posix", asked)
        self.add_root("__editable__.project-1.0.pth")

    def add_root(self, pth: str) -> None:
        """Install the root by a `.pth` file of this name."""
        root = str(self.root)
        self.editables.roots[root] = str(self.layer)
        self.editables.files[root] = f"{self.layer}/{pth}"
        self.editables.served.add(root)
        sys.path[:] = [root, str(self.layer), *sys.path]
        self.editables.guard_roots([root])

    def list_folder(self, path: str) -> list[str]:
        """List a folder, and note that if it is on the mount."""
        if "/mount/" in path:
            self.listed.append(path)
            if self.error:
                raise OSError(self.error, "a failure of the test", path)
        names: list[str] = posix.listdir(path)
        return names

    def write(self, *names: str, text: str = "") -> None:
        """Write files into the root."""
        for name in names:
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def describe(self, distribution: str, **files: str) -> None:
        """Write metadata of a distribution into the layer."""
        folder = self.layer / f"{distribution}.dist-info"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_txt", ".txt")).write_text(text)

    def has(self, name: str) -> bool:
        """Return whether Python finds a module in the root, on the path."""
        spec = PathFinder.find_spec(name)
        return spec is not None and str(spec.origin).startswith(str(self.root))

    def count(self) -> int:
        """Return how many folders of the mount have been listed since the last count."""
        count = len(self.listed)
        self.listed.clear()
        return count

    def run_library(self, source: str) -> dict[str, Any]:
        """Run code as a library in the layer does."""
        namespace: dict[str, Any] = {"__name__": "library.module"}
        exec(compile(source, f"{self.layer}/library/module.py", "exec"), namespace)
        return namespace


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
    mounts = shim.load("mounts")
    mounts.remote_folders[:] = ["", *mounts.find_remote_folders(str(table))]

    assert mounts.is_on_mount(path) is is_remote


def test_machine_without_a_table_of_mounts_has_the_known_ones(shim: Any, tmp_path: Path) -> None:
    mounts = shim.load("mounts")

    assert mounts.find_remote_folders(str(tmp_path / "absent")) == []


# Which names a root is asked for


def test_names_of_the_standard_library_never_reach_the_mount(mount: Mount) -> None:
    mount.write("nt.py", "msvcrt.py")

    assert not any(mount.has(name) for name in ("nt", "msvcrt", "_winapi", "winreg"))
    assert mount.count() == 0


def test_name_that_every_kernel_looks_for_does_not_reach_the_mount(mount: Mount) -> None:
    assert not mount.has("storemagic")
    assert mount.count() == 0


@pytest.mark.parametrize(
    ("distribution", "files", "name"),
    [
        ("project-1.0", {"top_level_txt": "first\nsecond\n"}, "second"),
        ("project-0.9", {"RECORD": "offered/__init__.py,sha256=x,0\nproject-0.9.dist-info/METADATA,,\n"}, "offered"),
        ("project-0.9", {"RECORD": "offered.py,,\n"}, "offered"),
        ("project-1.0", {"entry_points_txt": "[console_scripts]\ncommand = offered.cli:main\n"}, "offered"),
        ("project-1.0", {}, "project"),
    ],
    ids=["top_level.txt", "a package of an older copy", "a module of an older copy", "entry points", "its own name"],
)
def test_library_can_import_what_the_metadata_names(
    mount: Mount, distribution: str, files: dict[str, str], name: str
) -> None:
    mount.describe(distribution, **files)
    mount.write(f"{name}.py")

    mount.run_library(f"import {name}")

    assert mount.count() == 1
    sys.modules.pop(name)


def test_name_that_a_local_folder_has_does_not_reach_the_mount(mount: Mount) -> None:
    (mount.layer / "a_local_module.py").touch()

    assert not mount.has("a_local_module")
    assert PathFinder.find_spec("a_local_module") is not None
    assert mount.count() == 0


def test_missing_name_is_asked_for_once_in_ten_seconds(mount: Mount) -> None:
    counts = []
    for seconds in (0.0, 0.5, 5.0, 4.0, 0.6):
        mount.now += seconds
        assert not mount.has("no_such_module")
        counts.append(mount.count())

    assert counts == [1, 0, 0, 0, 1]


def test_new_module_is_found_within_a_second_whatever_was_missing_before(mount: Mount) -> None:
    assert not mount.has("no_such_module")
    mount.write("new_module.py")
    mount.now += 0.9
    assert not mount.has("new_module")  # the listing serves
    mount.now += 0.2

    assert mount.has("new_module")


def test_module_that_was_missing_is_found_once_caches_are_invalidated(mount: Mount) -> None:
    assert not mount.has("new_module")
    mount.write("new_module.py")
    assert not mount.has("new_module")
    mount.shim.forget_answers()

    assert mount.has("new_module")


LIBRARY_IMPORTS = {
    "statement": "try:\n    import optional\nexcept ImportError: pass",
    "statement with a dot": "try:\n    import optional.submodule\nexcept ImportError: pass",
    "from": "try:\n    from optional.submodule import name\nexcept ImportError: pass",
    "in a function": "def load():\n    try: import optional\n    except ImportError: pass\nload()",
}


@pytest.mark.parametrize("source", LIBRARY_IMPORTS.values(), ids=[*LIBRARY_IMPORTS])
def test_import_that_a_library_makes_by_itself_does_not_reach_the_mount(mount: Mount, source: str) -> None:
    mount.run_library(source)

    assert mount.count() == 0


def test_optional_dependency_does_not_reach_the_mount_however_it_is_imported(mount: Mount) -> None:
    mount.describe("library-1.0", METADATA="Name: library\nRequires-Dist: Op.tional[all]>=1; extra == 'more'\n\ntext\n")

    with pytest.raises(ImportError):
        mount.run_library("import importlib\nimportlib.import_module('op_tional')")

    assert mount.count() == 0


def test_package_that_extends_its_own_path_does_not_reach_the_mount(mount: Mount) -> None:
    mount.run_library("import pkgutil\npath = pkgutil.extend_path([], 'library')")

    assert mount.count() == 0


def load_pkgutil() -> ModuleType:
    """Return a copy of Python's `pkgutil` that the test can change."""
    spec: Any = external.spec_from_file_location("pkgutil", pkgutil.__file__)
    module = ModuleType("pkgutil")
    spec.loader.exec_module(module)
    return module


def test_package_that_extends_its_path_asks_only_roots_that_have_it(mount: Mount) -> None:
    """`extend_path` reads `NAME.pkg` in every folder on the path; what it does with it shows that it has."""
    module = load_pkgutil()
    for name in ("project", "library"):
        (mount.root / f"{name}.pkg").write_text("/a/line\n")
    assert module.extend_path([], "library") == ["/a/line"]
    mount.shim.load("hooks").patch("pkgutil", module)
    mount.shim.forget_answers()  # the root was listed for this test, which is user code

    assert module.extend_path([], "library") == []
    assert module.extend_path(name="library", path=["/kept"]) == ["/kept"]
    assert module.extend_path([], "project") == ["/a/line"]
    assert module.extend_path("no list", "library") == "no list"
    with pytest.raises(TypeError, match="name"):
        module.extend_path([])
    assert mount.shim.hook_states == {}


@pytest.mark.parametrize("is_imported", [True, False], ids=["before", "after"])
def test_pkgutil_is_patched_once_a_mount_is_searched(
    mount: Mount,
    monkeypatch: pytest.MonkeyPatch,
    is_imported: bool,  # noqa: FBT001
) -> None:
    monkeypatch.delitem(sys.modules, "pkgutil")
    if is_imported:
        monkeypatch.setitem(sys.modules, "pkgutil", load_pkgutil())
    mount.shim.watch()
    assert mount.has("no_such_module") is False
    module: Any = __import__("pkgutil")
    patched = module.extend_path.__code__
    mount.shim.stop()

    assert patched.co_filename in (mount.shim.loaded["hooks"].__file__, "<dbx-patch>")
    assert module.extend_path.__code__.co_filename == pkgutil.__file__


@pytest.mark.parametrize(
    ("requirement", "is_found"),
    [("project", True), ("Project >=1; python_version > '3'", True), ("another-project", False)],
)
def test_library_that_requires_the_project_can_import_what_only_the_root_knows(
    mount: Mount,
    requirement: str,
    is_found: bool,  # noqa: FBT001
) -> None:
    mount.describe("library-1.0", METADATA=f"Name: library\nRequires-Dist: {requirement}\n\nRequires-Dist: project\n")
    mount.write("unlisted.py")

    outcome = mount.run_library("try:\n    import unlisted\nexcept ImportError:\n    unlisted = None")["unlisted"]

    assert isinstance(outcome, ModuleType) is is_found
    sys.modules.pop("unlisted", None)


def test_library_can_import_a_name_that_it_was_given(mount: Mount) -> None:
    """A test runner, an entry point or a pickle names a user's module."""
    mount.write("given.py", text="def function(): pass\n")
    sources = (
        "import importlib\nmodule = importlib.import_module(''.join(['gi', 'ven']))",
        "import pickle\nmodule = pickle.loads(b'cgiven\\nfunction\\n.')",
    )
    for source in sources:
        assert mount.run_library(source)["module"] is not None
        sys.modules.pop("given")


def test_listing_shows_every_caller_what_the_root_has(mount: Mount) -> None:
    mount.write("known.py")
    assert mount.has("known")
    mount.now += 100

    mount.run_library("import known")

    sys.modules.pop("known")


def test_layer_on_a_mount_is_treated_as_a_root(mount: Mount) -> None:
    layer = mount.root.parent.parent / "environment/lib/site-packages"
    layer.mkdir(parents=True)
    (layer / "a_library.py").touch()
    (layer / "__editable__.other-1.0.pth").write_text(f"{mount.root.parent}/other\n")
    mount.mounts.watch_layer(str(layer))
    sys.path.append(str(layer))

    mount.run_library("try:\n    import optional\nexcept ImportError: pass")
    assert mount.count() == 0
    spec = PathFinder.find_spec("a_library")

    assert spec is not None
    assert spec.origin == f"{layer}/a_library.py"
    assert f"{mount.root.parent}/other" in sys.path


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
    ours = make_finder(folder, mount.mounts.MountFinder)

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


def test_module_that_is_written_after_its_package_was_listed_is_found_at_once(mount: Mount) -> None:
    mount.write("project/__init__.py", "project/first.py")
    spec = PathFinder.find_spec("project")
    assert spec is not None
    path = spec.submodule_search_locations
    assert PathFinder.find_spec("project.first", path) is not None
    mount.write("project/second.py")

    assert PathFinder.find_spec("project.second", path) is not None


def test_module_that_is_removed_is_not_found(mount: Mount) -> None:
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

    assert mount.count() == 0


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
    for _ in range(20):
        assert not mount.has("project")
    assert mount.count() == 1
    assert [event[0] for event in mount.shim.journal] == ["root unavailable"]
    mount.now += 1.0

    assert not mount.has("project")
    assert mount.count() == 1


def test_outage_that_another_name_has_shown_is_asked_about_for_the_project(mount: Mount) -> None:
    """As when a kernel's start looks for a name in a root that can be read right before the first import."""
    mount.write("project/__init__.py")
    mount.error = errno.EACCES
    assert not mount.has("another")
    mount.error = 0

    assert mount.has("project")


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

    finders = mount.shim.load("finders")
    finders.add_turn({"layer": str(mount.layer), "pth": "a.pth"}, find_spec)

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

    mount.shim.load("finders").add_turn({"layer": str(mount.layer), "pth": "a.pth"}, find_spec)

    with pytest.raises(OSError, match="a failure of the test"):
        __import__("of_a_finder")


def test_what_a_finder_finds_on_a_mount_is_searched_as_a_root_is(mount: Mount) -> None:
    mount.write("package/__init__.py", "package/module.py")
    folder = str(mount.root / "package")
    spec: Any = external.spec_from_file_location(
        "package", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )

    mount.mounts.adopt(spec)

    below = PathFinder.find_spec("package.module", [folder])
    assert below is not None
    assert type(spec.loader) is type(below.loader) is mount.shim.load("cache").CachingLoader
    assert mount.count() == 1


def test_namespace_package_of_two_roots_is_whole(mount: Mount) -> None:
    mount.write("spread/first.py")
    other = mount.root.with_name("other")
    (other / "spread").mkdir(parents=True)
    (other / "spread/second.py").touch()
    mount.root, first = other, mount.root
    mount.add_root("__editable__.other-1.0.pth")

    spec = PathFinder.find_spec("spread")

    assert spec is not None
    assert sorted(spec.submodule_search_locations or ()) == sorted([f"{first}/spread", f"{other}/spread"])


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
    assert type(sys.path_importer_cache[str(mount.root)]) is mount.mounts.MountFinder
    mount.shim.stop()

    assert pkgutil.get_importer(str(mount.root)).__class__ is FileFinder
