"""Byte code of packages on a mount: when it is used, where it is, and whose it must be."""

from __future__ import annotations

import _frozen_importlib_external as external
import _imp
import contextlib
import inspect
import marshal
import os
import pickle
import shutil
import sys
import threading
import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source, module_from_spec, source_hash, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.lab.disks import disk_in_memory
from tests.lab.missing import need_root

SOURCE = "def function():\n    raise ValueError({number})\n"


class Cache:
    """A module on a mount, and the cache of a user with a home folder."""

    def __init__(self, folder: Path, shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = folder / "home"
        self.home.mkdir(mode=0o755)
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        monkeypatch.setattr(sys, "pycache_prefix", None)
        self.shim = shim
        self.part = shim.load("cache")
        self.folders = shim.load("folders")
        self.mount = folder / "mount"
        self.source = self.mount / "package/module.py"
        self.source.parent.mkdir(parents=True)
        self.write(1)

    @property
    def folder(self) -> Path:
        """The cache's folder."""
        return self.home / ".cache/dbx-patch/byte-code"

    @property
    def files(self) -> list[Path]:
        """The files in the cache."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def write(self, number: int) -> None:
        """Write the module's source, so that its function raises another error. Its time of change is another one."""
        before = self.source.stat().st_ctime_ns if self.source.exists() else 0
        self.source.write_text(SOURCE.format(number=number))
        while self.source.stat().st_ctime_ns == before:  # the file system's clock has not ticked
            self.source.write_text(SOURCE.format(number=number))

    def load(self, *, in_new_process: bool = True, plain: bool = False) -> Any:
        """Load the module as an import does, by default in a process that has asked nothing yet."""
        if in_new_process:
            self.part.stop()
            self.folders.listings.clear()
        spec: Any = spec_from_file_location("module", self.source)
        if not plain:
            self.part.use(spec)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def run(self, *, in_new_process: bool = True, plain: bool = False) -> int:
        """Load the module, and return the number that its function raises."""
        with pytest.raises(ValueError, match=r"\d") as raised:
            self.load(in_new_process=in_new_process, plain=plain).function()
        return int(str(raised.value))

    def plant(self, number: int, *, magic: bytes = MAGIC_NUMBER, path: str = "") -> None:
        """Replace what the code in the cached file raises: what runs shows whether that file was read."""
        (file,) = self.files
        head, _, data = file.read_bytes().partition(b"\n")
        code = compile(SOURCE.format(number=number), path or str(self.source), "exec")
        data = magic + data[4:16] + marshal.dumps(code)
        file.write_bytes(b"%s %d\n%s" % (head.rpartition(b" ")[0], self.part.hash_data(data), data))

    def list_mount(self) -> dict[str, bytes]:
        """Return the files on the mount, each with its content."""
        return {str(path): path.read_bytes() for path in self.mount.rglob("*") if path.is_file()}


@pytest.fixture
def cache(shim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    return Cache(tmp_path.resolve(), shim, monkeypatch)


# When it is used


def test_byte_code_is_kept_by_the_full_path_and_used_next_time(cache: Cache) -> None:
    assert cache.run() == 1
    tag = sys.implementation.cache_tag
    assert cache.files == [Path(f"{cache.folder}{cache.source.parent}/module.{tag}.pyc")]
    cache.plant(2)

    assert cache.run() == 2
    assert not cache.source.with_name("__pycache__").exists()


def test_file_has_after_its_first_line_what_python_would_write(cache: Cache) -> None:
    cache.run()
    (file,) = cache.files
    cache.run(plain=True)

    assert file.read_bytes().partition(b"\n")[2] == Path(cache_from_source(str(cache.source))).read_bytes()


@pytest.mark.parametrize("change", ["size", "seconds", "nanoseconds", "nothing else"])
def test_edit_runs_always(cache: Cache, change: str) -> None:
    """A release or `git archive` gives all files one fixed time, and what replaces a file can have its size."""
    cache.run()
    cache.plant(2)
    status = cache.source.stat()
    later = {"seconds": 10**9, "nanoseconds": 1}.get(change, 0)
    cache.write(33 if change == "size" else 3)
    os.utime(cache.source, ns=(status.st_atime_ns, status.st_mtime_ns + later))

    assert cache.run() == (33 if change == "size" else 3)
    assert len(cache.files) == 1


def test_folders_that_were_swapped_run_their_own_code(cache: Cache) -> None:
    cache.run()
    status, first = cache.source.stat(), cache.source.parent
    shutil.copytree(first, other := first.with_name("other"))
    first.rename(first.with_name("moved"))
    other.rename(first)
    cache.write(3)
    os.utime(cache.source, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert cache.run() == 3


@pytest.mark.parametrize(
    "length", [0, 4, 30, -5], ids=["empty", "cut in its first line", "cut in the header", "cut in the code"]
)
def test_damaged_file_is_replaced(cache: Cache, length: int) -> None:
    cache.run()
    (file,) = cache.files
    whole = file.read_bytes()
    file.write_bytes(whole[:length])

    assert cache.run() == 1
    assert file.read_bytes() == whole


def test_file_with_a_damaged_byte_is_replaced(cache: Cache) -> None:
    cache.run()
    (file,) = cache.files
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    assert cache.run() == 1
    assert file.read_bytes() == whole


def test_byte_code_of_another_python_with_the_same_tag_is_replaced(cache: Cache) -> None:
    """As after an update of a Python that is not released yet."""
    cache.run()
    (file,) = cache.files
    whole = file.read_bytes()
    cache.plant(2, magic=b"old\n")
    before = cache.list_mount()

    assert cache.run() == 1
    assert file.read_bytes() == whole
    assert cache.list_mount() == before


# Byte code on the mount


HASHED = [
    pytest.param(flags, fits, how, id=f"{kind} {'right' if fits else 'wrong'} {how}")
    for flags, kind in ((1, "unchecked"), (3, "checked"))
    for fits in (True, False)
    for how in ("default", "always", "never")
]


@pytest.mark.parametrize(("flags", "fits", "how"), HASHED)
def test_byte_code_with_a_hash_of_its_source_is_used_as_python_uses_it(
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
    flags: int,
    fits: bool,  # noqa: FBT001
    how: str,
) -> None:
    """:pep:`552`. Some projects are built reproducibly, with byte code that says that it need not be checked."""
    monkeypatch.setattr(_imp, "check_hash_based_pycs", how)
    file = Path(cache_from_source(str(cache.source)))
    code = compile(SOURCE.format(number=2), str(cache.source), "exec")
    digest = source_hash(cache.source.read_bytes() if fits else b"another source")
    file.parent.mkdir()
    file.write_bytes(MAGIC_NUMBER + flags.to_bytes(4, "little") + digest + marshal.dumps(code))
    before = cache.list_mount()

    numbers = [cache.run(), cache.run()]
    loader = cache.load().__loader__

    assert cache.list_mount() == before
    assert numbers == [cache.run(plain=True)] * 2
    assert type(loader) is SourceFileLoader


@pytest.mark.parametrize(
    "data", [b"", MAGIC_NUMBER + b"\1\0\0\0", b"old\n\1" + bytes(11), MAGIC_NUMBER + b"\7" + bytes(11)]
)
def test_unusable_byte_code_on_the_mount_is_left_there(cache: Cache, data: bytes) -> None:
    """Python itself would replace it."""
    file = Path(cache_from_source(str(cache.source)))
    file.parent.mkdir()
    file.write_bytes(data)

    assert [cache.run(), cache.run()] == [1, 1]
    assert file.read_bytes() == data
    assert len(cache.files) == 1


def test_byte_code_on_the_mount_with_the_time_of_its_source_is_not_read_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Python without the shim has written it."""
    cache.run(plain=True)
    before = cache.list_mount()
    assert cache.run() == 1
    read: list[str] = []
    get_data = SourceFileLoader.get_data

    def note(self: SourceFileLoader, path: str) -> bytes:
        read.append(path)
        return get_data(self, path)

    monkeypatch.setattr(external.FileLoader, "get_data", note)

    assert cache.run() == 1
    assert read == []
    assert cache.list_mount() == before


def test_nothing_is_written_to_the_mount(cache: Cache) -> None:
    before = cache.list_mount()
    for number in (1, 2, 2):
        cache.write(number)
        assert cache.run() == number
    cache.write(1)

    assert cache.list_mount() == before


def test_loader_whose_source_was_looked_at_first_writes_nothing_to_the_mount(cache: Cache) -> None:
    """As coverage and debuggers look at it."""
    spec: Any = spec_from_file_location("module", cache.source)
    cache.part.use(spec)
    assert spec.loader.get_source("module") == SOURCE.format(number=1)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    assert [*cache.list_mount()] == [str(cache.source)]
    assert len(cache.files) == 1


# What a process is like that uses it


def test_process_that_writes_no_byte_code_makes_no_folder_and_reads_it(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert cache.run() == 1
    assert [*cache.home.iterdir()] == []
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cache.run()
    cache.plant(2)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    assert cache.run() == 2


def test_folder_that_the_user_chose_for_byte_code_is_used_instead(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "prefix"))

    assert cache.run() == 1
    assert cache.files == []
    assert [path.name for path in (tmp_path / "prefix").rglob("*.pyc")] == [
        f"module.{sys.implementation.cache_tag}.pyc"
    ]


def test_switch_turns_it_off(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    environ: Any = sys.modules["posix"].environ
    monkeypatch.setitem(environ, b"DBX_PATCH_NO_CACHE", b"1")

    assert cache.run() == 1
    assert cache.files == []


def test_people_and_tools_see_the_source(cache: Cache) -> None:
    cache.run()
    function = cache.load().function

    assert inspect.getsourcefile(function) == str(cache.source)
    assert inspect.getsource(function) == SOURCE.format(number=1)
    with pytest.raises(ValueError, match="1") as raised:
        function()
    assert f'File "{cache.source}", line 2, in function' in "".join(traceback.format_exception(raised.value))


def test_code_names_the_place_of_its_source(cache: Cache) -> None:
    """Also if the cached file was copied from that of another path."""
    cache.run()
    cache.plant(2, path="/another/module.py")

    assert cache.load().function.__code__.co_filename == str(cache.source)


@pytest.mark.parametrize("kind", ["compiled", "cached", "without a cache"])
@pytest.mark.parametrize("writes", [True, False])
def test_loaded_module_names_nothing_of_ours(
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    writes: bool,  # noqa: FBT001
) -> None:
    """cloudpickle takes a module's spec along to interpreters that do not have the shim."""
    if kind == "cached":
        cache.load()
    elif kind == "without a cache":
        (cache.home / ".cache").touch()
    monkeypatch.setattr(sys, "dont_write_bytecode", not writes)
    module = cache.load()
    plain: Any = spec_from_file_location("module", cache.source)

    assert type(module.__loader__) is SourceFileLoader
    assert vars(module.__loader__) == vars(plain.loader)
    assert module.__spec__.loader is module.__loader__
    data = pickle.dumps((module.__spec__, module.__loader__))
    assert cache.part.__name__.encode() not in data
    assert vars(pickle.loads(data)[1]) == vars(plain.loader)


def test_cached_is_the_file_in_the_cache(cache: Cache) -> None:
    module = cache.load()

    assert [Path(module.__cached__)] == cache.files
    assert module.__spec__.cached == module.__cached__


@pytest.mark.parametrize("text", ["x = (\n", "x = '\0'\n", "def\n", "1 / 0\n", "import no_such_module_anywhere\n"])
def test_error_shows_the_lines_that_it_shows_without_it(cache: Cache, text: str) -> None:
    cache.source.write_text(text)
    shown = []
    for plain in (False, True):
        try:
            cache.load(plain=plain)
        except (ImportError, SyntaxError, ValueError, ZeroDivisionError):
            shown.append(traceback.format_exc().partition("exec_module(module)")[2])

    assert len(shown[0]) > 0
    assert shown[0] == shown[1]


def test_source_that_is_gone_raises_as_without_it(cache: Cache) -> None:
    cache.run()
    cache.source.unlink()

    with pytest.raises(FileNotFoundError):
        cache.load()


# Where it is


@pytest.mark.parametrize(("home", "chosen"), [("relative", ""), ("", ""), ("/nonexistent/home", "")])
def test_without_a_home_folder_there_is_none(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, home: str, chosen: str
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)

    assert cache.run() == 1
    assert cache.files == []
    assert cache.part.caches == {os.geteuid(): ""}
    assert not Path("/nonexistent").exists()


def test_users_other_folder_for_caches_is_used(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))

    cache.run()

    assert len(list((tmp_path / "caches/dbx-patch/byte-code").rglob("*.pyc"))) == 1
    assert cache.files == []


@pytest.mark.parametrize("spelling", ["plain", "a link"])
def test_home_folder_on_a_mount_is_not_used(cache: Cache, spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.folders, "find_remote_folders", lambda: [str(cache.home)])
    if spelling == "a link":
        link = cache.home.with_name("link")
        link.symlink_to(cache.home)
        monkeypatch.setenv("HOME", str(link))

    assert cache.run() == 1
    assert cache.files == []


def test_folder_is_private(cache: Cache) -> None:
    before = os.umask(0)
    try:
        cache.run()
    finally:
        os.umask(before)

    assert oct(cache.folder.stat().st_mode & 0o777) == "0o700"  # so what is below can't be reached
    assert [oct(path.stat().st_mode & 0o777) for path in cache.files] == ["0o600"]


# Whose it must be


EXPOSURES = {
    "the cache is another user's": lambda cache: os.chown(cache.folder, 1234, 1234),
    "others can read the cache": lambda cache: cache.folder.chmod(0o755),
    "others can write the cache": lambda cache: cache.folder.chmod(0o777),
    "the cache is a link": lambda cache: replace_by_link(cache.folder),
    "the folder above is another user's": lambda cache: os.chown(cache.folder.parent, 1234, 1234),
    "others can write the folder above": lambda cache: cache.folder.parent.chmod(0o777),
    "the folder above is a link": lambda cache: replace_by_link(cache.folder.parent),
    "others can write the home folder": lambda cache: cache.home.chmod(0o777),
    "a group can write the home folder": lambda cache: cache.home.chmod(0o775),
    "the home folder is another user's": lambda cache: os.chown(cache.home, 1234, 1234),
    "the file is another user's": lambda cache: os.chown(cache.files[0], 1234, 1234),
    "others can write the file": lambda cache: cache.files[0].chmod(0o666),
    "the file is a link": lambda cache: replace_by_link(cache.files[0]),
    "the file is a named pipe": lambda cache: replace_by_pipe(cache.files[0]),
}


def replace_by_link(path: Path) -> None:
    other = path.with_name("moved")
    path.rename(other)
    path.symlink_to(other)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("expose", EXPOSURES.values(), ids=[*EXPOSURES])
def test_what_another_user_could_have_written_is_not_used(cache: Cache, expose: Any) -> None:
    need_root("give a folder away")
    cache.run()
    cache.plant(2)
    expose(cache)

    assert cache.run() == 1


def test_nothing_is_written_into_the_home_folder_of_another_user(cache: Cache) -> None:
    """`sudo -E` has root run with the user's HOME."""
    need_root("give a folder away")
    os.chown(cache.home, 1234, 1234)

    assert cache.run() == 1
    assert list(cache.home.iterdir()) == []


def test_home_folder_in_a_sticky_folder_is_used(cache: Cache) -> None:
    cache.home.parent.chmod(0o1777)

    cache.run()

    assert len(cache.files) == 1


def test_process_that_becomes_another_user_does_not_use_the_cache(cache: Cache) -> None:
    need_root("become another user")
    cache.run()
    os.seteuid(1234)
    try:
        assert cache.part.find_cached(str(cache.source)) == ""
    finally:
        os.seteuid(0)

    assert cache.part.find_cached(str(cache.source)) == str(cache.files[0])


# What can go wrong


def test_full_disk_changes_nothing(cache: Cache) -> None:
    with disk_in_memory(cache.home, "size=64k,mode=755"):
        with contextlib.suppress(OSError), (cache.home / "filler").open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

        assert cache.run() == 1
        assert cache.files == []
        assert [event[0] for event in cache.shim.journal] == ["cache unusable"]


def test_disk_that_fills_up_leaves_no_half_file(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_less(descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data[:10])

    cache.run()
    cache.files[0].unlink()
    posix: Any = sys.modules["posix"]
    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", write_less)

        assert cache.run() == 1

    assert cache.files == []


def test_read_only_disk_changes_nothing(cache: Cache) -> None:
    with disk_in_memory(cache.home, "ro"):
        assert cache.run() == 1
        assert cache.files == []


def test_cache_that_has_grown_too_large_is_emptied(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.run()
    old = cache.files
    monkeypatch.setattr(cache.part, "SIZE_LIMIT", 100)
    cache.source = cache.source.with_name("second.py")
    cache.write(2)

    assert cache.run() == 2
    assert len(cache.files) == 1
    assert cache.files != old


def test_cache_that_is_removed_while_a_process_runs_is_used_again(cache: Cache) -> None:
    """As by `rm -rf ~/.cache`."""
    cache.run()
    shutil.rmtree(cache.home / ".cache")
    before = cache.list_mount()

    assert cache.run(in_new_process=False) == 1
    assert len(cache.files) == 1
    assert oct(cache.folder.stat().st_mode & 0o777) == "0o700"
    cache.plant(2)
    assert cache.run(in_new_process=False) == 2
    assert cache.list_mount() == before
    assert cache.shim.journal == {}


def test_name_that_is_too_long_for_a_file_of_the_cache_stops_no_other(cache: Cache) -> None:
    first = cache.source
    cache.source = first.with_name("m" * 240 + ".py")
    cache.write(2)
    before = cache.list_mount()
    assert cache.run() == 2
    cache.source = first

    assert cache.run(in_new_process=False) == 1
    assert [file.name.partition(".")[0] for file in cache.files] == ["module"]
    assert cache.list_mount() == before
    assert cache.shim.journal == {}


def test_eight_threads_that_make_the_cache_write_all_of_their_modules(cache: Cache) -> None:
    sources = [cache.source.with_name(f"module{number}.py") for number in range(8)]
    together = threading.Barrier(len(sources))
    numbers: list[int] = []

    def load(source: Path) -> None:
        spec: Any = spec_from_file_location(source.stem, source)
        together.wait()
        cache.part.use(spec)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        numbers.append(module.NUMBER)

    for number, source in enumerate(sources):
        source.write_text(f"NUMBER = {number}\n")
    threads = [threading.Thread(target=load, args=[source]) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == [*range(8)]
    assert [file.name.partition(".")[0] for file in cache.files] == [source.stem for source in sources]
    assert cache.shim.journal == {}


def test_part_that_was_replaced_leaves_python_alone(shim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = shim.load("folders")
    monkeypatch.setattr(folders, "find_remote_folders", lambda: [str(tmp_path)])
    source = tmp_path / "module.py"
    source.touch()
    spec = spec_from_file_location("module", source)
    assert spec is not None
    kind = type(spec.loader)
    monkeypatch.setattr(shim, "VERSION", "0.0.1")

    folders.use_cache(spec)

    assert "cache" not in shim.loaded
    assert type(spec.loader) is kind
