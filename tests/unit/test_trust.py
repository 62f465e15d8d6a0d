"""Which component of a path an untrusted user could modify: each folder and link that decides what is there."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from dbx_patch.installer._trust import (
    find_exposed,
    find_exposed_byte_code,
    is_trusted_group,
    make_scratch_folder,
    trusted_uids,
)
from tests.lab.missing import need_root
from tests.lab.trace import require

ANOTHER_USER = 1234


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file in two folders, all of them root's."""
    need_root("give a file away")
    file = tmp_path.resolve() / "one/two/file"
    file.parent.mkdir(parents=True)
    file.write_text("")
    return file


def give_away(path: Path) -> None:
    os.chown(path, ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)


def test_path_of_root_is_safe(file: Path) -> None:
    assert find_exposed(file, {0}) is None


@pytest.mark.parametrize("level", [0, 1, 2])
def test_component_of_another_user_is_found(file: Path, level: int) -> None:
    component = [file, *file.parents][level]
    give_away(component)

    assert find_exposed(file, {0}) == component
    assert find_exposed(file, {0, ANOTHER_USER}) is None


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757], ids=oct)
@pytest.mark.parametrize("level", [0, 1])
def test_component_that_others_can_write_is_found(file: Path, level: int, mode: int) -> None:
    component = [file, *file.parents][level]
    if mode == 0o775:
        os.chown(component, 0, ANOTHER_USER)
    component.chmod(mode)

    assert find_exposed(file, {0}) == component


@pytest.mark.parametrize("group", [0, 50], ids=["root", "staff"])
def test_group_that_root_controls_is_trusted(file: Path, group: int) -> None:
    os.chown(file.parent, 0, group)
    file.parent.chmod(0o2775)

    assert find_exposed(file, {0}) is None


def test_group_of_one_user_is_trusted_with_that_user_only(file: Path) -> None:
    user = next(user for user in pwd.getpwall() if user.pw_uid and grp.getgrgid(user.pw_gid)[0] == user.pw_name)
    os.chown(file, user.pw_uid, user.pw_gid)
    file.chmod(0o664)
    assert find_exposed(file, {0, user.pw_uid}) is None

    os.chown(file, user.pw_uid, ANOTHER_USER)
    assert find_exposed(file, {0, user.pw_uid}) == file


def test_private_group_with_another_member_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.struct_passwd(("someone", "x", 1000, 1000, "", "/", "/bin/sh"))
    members: list[str] = []
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("someone", "x", 1000, members)))
    assert is_trusted_group(1000, 1000)

    members.append("another")
    assert not is_trusted_group(1000, 1000)


@pytest.mark.parametrize(
    ("entries", "exposed"),
    [
        (f"u:{ANOTHER_USER}:rw", True),
        (f"g:{ANOTHER_USER}:rw", True),
        (f"u:{ANOTHER_USER}:rw,m::r", False),  # the mask takes the write access away
        (f"u:{ANOTHER_USER}:r,g::rw", False),  # the group that can write is root's own
        ("u:0:rw,g:50:rw", False),
    ],
)
@pytest.mark.parametrize("level", [0, 1], ids=["file", "folder"])
def test_write_access_by_an_access_list_is_found(file: Path, level: int, entries: str, exposed: bool) -> None:  # noqa: FBT001
    component = [file, *file.parents][level]
    if subprocess.run([require("setfacl"), "-m", entries, component], check=False).returncode:
        pytest.skip("this machine's disk has no access lists")

    assert find_exposed(file, {0}) == (component if exposed else None)


class TestByteCode:
    """Python runs byte code instead of a source file, so it must not be another user's either."""

    def test_folder_without_a_cache_is_safe(self, file: Path) -> None:
        assert find_exposed_byte_code(file, {0}) is None

    def test_cache_that_others_can_write_is_found(self, file: Path, tmp_path: Path) -> None:
        cache = file.parent / "__pycache__"
        cache.mkdir(0o755)
        assert find_exposed_byte_code(file, {0}) is None

        cache.chmod(0o777)
        assert find_exposed_byte_code(file, {0}) == cache
        cache.chmod(0o755)
        give_away(cache)
        assert find_exposed_byte_code(file, {0}) == cache
        assert find_exposed_byte_code(file, {0, ANOTHER_USER}) is None
        cache.rmdir()
        theirs = tmp_path.resolve() / "theirs"
        theirs.mkdir()
        theirs.chmod(0o777)
        cache.symlink_to(theirs)
        assert find_exposed_byte_code(file, {0}) == theirs

    def test_byte_code_from_when_others_could_write_there_is_found(self, file: Path) -> None:
        cache = file.parent / "__pycache__"
        cache.mkdir(0o755)
        for name, found in (("another.cpython-312.pyc", False), ("file_part.cpython-312.opt-1.pyc", True)):
            planted = cache / name
            planted.write_bytes(b"")
            give_away(planted)

            assert find_exposed_byte_code(file, {0}) == (planted if found else None)

    def test_cache_in_a_folder_that_others_can_write_is_not_told_apart(self, file: Path) -> None:
        cache = file.parent / "__pycache__"
        cache.mkdir()
        for folder in (cache, file.parent):
            folder.chmod(0o777)

        assert find_exposed_byte_code(file, {0}) is None


def test_sticky_folder_is_safe_and_its_entries_are_checked(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert find_exposed(file, {0}) is None

    give_away(file)
    assert find_exposed(file, {0}) == file


def test_file_that_others_can_write_is_found_although_it_is_sticky(file: Path) -> None:
    """The bit limits who may rename and remove a folder's entries. It says nothing about a file."""
    file.chmod(0o1666)

    assert find_exposed(file, {0}) == file


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_links_and_the_folders_they_lead_through_are_checked(file: Path, tmp_path: Path, relative: bool) -> None:  # noqa: FBT001
    between = tmp_path.resolve() / "between"
    between.mkdir()
    (between / "folder").symlink_to("../one" if relative else file.parents[1])
    link = tmp_path / "link"
    link.symlink_to("between/folder" if relative else between / "folder")
    assert find_exposed(link / "two/file", {0}) is None

    give_away(between / "folder")
    assert find_exposed(link / "two/file", {0}) == between / "folder"
    os.chown(between / "folder", 0, 0, follow_symlinks=False)
    give_away(between)
    assert find_exposed(link / "two/file", {0}) == between


def test_link_to_itself_ends(file: Path) -> None:
    loop = file.with_name("loop")
    loop.symlink_to("loop")

    assert find_exposed(loop / "file", {0}) == loop


def test_missing_path_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_exposed(tmp_path / "absent", trusted_uids())


@pytest.mark.parametrize("variable", ["TMPDIR", "TEMP", "TMP"])
def test_scratch_folder_is_never_where_others_can_write(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(file.parent))
    with make_scratch_folder() as folder:
        assert Path(folder).parent == file.parent

    give_away(file.parent)
    with make_scratch_folder() as folder:
        assert file.parent not in Path(folder).parents
        assert list(file.parent.iterdir()) == [file]
