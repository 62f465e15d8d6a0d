"""Byte code of packages on a mount: when it is used, where it is, and whose it must be."""

from __future__ import annotations

import contextlib
import inspect
import marshal
import os
import sys
import traceback
from importlib.util import MAGIC_NUMBER, module_from_spec, spec_from_file_location
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
        self.source = folder / "mount/package/module.py"
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
        """Write the module's source, so that its function raises another error."""
        self.source.write_text(SOURCE.format(number=number))

    def load(self) -> Any:
        """Load the module as an import does, in a process that has not looked for the cache."""
        self.part.forget_answers()
        loader = self.part.CachingLoader("module", str(self.source))
        spec = spec_from_file_location("module", self.source, loader=loader)
        assert spec is not None
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module

    def run(self) -> int:
        """Load the module, and return the number that its function raises."""
        with pytest.raises(ValueError, match=r"\d") as raised:
            self.load().function()
        return int(str(raised.value))

    def plant(self, number: int) -> None:
        """Replace what the code in the cached file raises: what runs shows whether that file was read."""
        (file,) = self.files
        code = compile(SOURCE.format(number=number), str(self.source), "exec")
        file.write_bytes(file.read_bytes()[:16] + marshal.dumps(code))


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


def test_file_is_the_one_that_python_would_write(cache: Cache) -> None:
    cache.run()
    (file,) = cache.files
    status = cache.source.stat()

    header = b"".join(int(number).to_bytes(4, "little") for number in (0, status.st_mtime, status.st_size))
    assert file.read_bytes()[:16] == MAGIC_NUMBER + header


@pytest.mark.parametrize("change", ["size", "time"])
def test_edit_runs_always(cache: Cache, change: str) -> None:
    cache.run()
    cache.plant(2)
    status = cache.source.stat()
    cache.write(33 if change == "size" else 3)
    os.utime(cache.source, (status.st_atime, status.st_mtime + (change == "time")))

    assert cache.run() == (33 if change == "size" else 3)
    assert len(cache.files) == 1


@pytest.mark.parametrize(
    "damage", [b"", MAGIC_NUMBER, b"no byte code", None], ids=["empty", "cut short", "other", "cut in the code"]
)
def test_damaged_file_is_replaced(cache: Cache, damage: bytes | None) -> None:
    cache.run()
    (file,) = cache.files
    whole = file.read_bytes()
    file.write_bytes(whole[:-5] if damage is None else damage)

    assert cache.run() == 1
    assert file.read_bytes() == whole


def test_file_that_holds_no_code_is_replaced(cache: Cache) -> None:
    cache.run()
    (file,) = cache.files
    file.write_bytes(file.read_bytes()[:16] + marshal.dumps(["no", "code"]))

    assert cache.run() == 1


def test_process_that_writes_no_byte_code_reads_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert cache.run() == 1
    assert cache.files == []
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


def test_source_that_moved_names_its_new_place(cache: Cache) -> None:
    """Two paths have two files, even if byte code was copied from one to the other."""
    cache.run()
    (file,) = cache.files
    moved = cache.source.with_name("moved.py")
    cache.source.rename(moved)
    file.rename(file.with_name(file.name.replace("module", "moved")))
    cache.source = moved

    assert cache.load().function.__code__.co_filename == str(moved)


def test_syntax_error_is_raised_as_without_it(cache: Cache) -> None:
    cache.source.write_text("def\n")

    with pytest.raises(SyntaxError) as raised:
        cache.load()

    assert raised.value.filename == str(cache.source)
    assert cache.files == []


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
    cache.part.mounts.remote_folders[:] = ["", str(cache.home)]
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
    cache.part.forget_answers()
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


def test_part_that_was_replaced_leaves_python_alone(shim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = shim.load("mounts")
    source = tmp_path / "module.py"
    source.touch()
    spec = spec_from_file_location("module", source)
    assert spec is not None
    kind = type(spec.loader)
    shim.loaded.pop("cache", None)
    monkeypatch.setattr(shim, "VERSION", "0.0.1")

    mounts.use_cache(spec)

    assert type(spec.loader) is kind
