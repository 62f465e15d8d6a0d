"""What docs/security.md says: who may write what, what is trusted, and what is refused."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer._trust import find_exposed

from tests.lab.missing import need_root
from tests.lab.trace import require

if TYPE_CHECKING:
    from tests.lab.node import Node

SOMEBODY = 1234
"""Another user's id."""
pytestmark = pytest.mark.pythons("3.12")
one_node = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])


@pytest.fixture(autouse=True)
def _root() -> None:
    need_root("give a file away")


def give_away(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


class TestWay:
    """To a file: each folder and link that decides what is there."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path.resolve() / "one/two/file"
        file.parent.mkdir(parents=True)
        file.write_text("")
        return file

    def test_of_root_s_own(self, file: Path) -> None:
        assert find_exposed(file, {0}) is None

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_with_something_of_another_s(self, file: Path, level: int) -> None:
        step = [file, *file.parents][level]
        give_away(step)

        assert find_exposed(file, {0}) == step
        assert find_exposed(file, {0, SOMEBODY}) is None

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
    @pytest.mark.parametrize("level", [0, 1])
    def test_with_something_that_others_may_write(self, file: Path, level: int, mode: int) -> None:
        step = [file, *file.parents][level]
        if mode == 0o775:
            os.chown(step, 0, SOMEBODY)
        step.chmod(mode)

        assert find_exposed(file, {0}) == step

    def test_with_a_group_that_is_the_owner_s_alone(self, file: Path) -> None:
        user = next(user for user in pwd.getpwall() if user.pw_uid and grp.getgrgid(user.pw_gid)[0] == user.pw_name)
        os.chown(file, user.pw_uid, user.pw_gid)
        file.chmod(0o664)
        assert find_exposed(file, {0, user.pw_uid}) is None
        os.chown(file, user.pw_uid, SOMEBODY)
        assert find_exposed(file, {0, user.pw_uid}) == file

    def test_with_a_folder_where_each_may_replace_what_is_his_own(self, file: Path) -> None:
        file.parent.chmod(0o1777)
        assert find_exposed(file, {0}) is None
        give_away(file)
        assert find_exposed(file, {0}) == file

    @pytest.mark.parametrize("relative", [True, False])
    def test_with_links(self, file: Path, tmp_path: Path, relative: bool) -> None:  # noqa: FBT001
        """A folder that only a link leads through counts as well."""
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

    def test_without_an_end(self, tmp_path: Path) -> None:
        loop = tmp_path.resolve() / "loop"
        loop.symlink_to("loop")
        assert find_exposed(loop / "file", {0}) == loop

    def test_to_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            find_exposed(tmp_path / "absent", {0})


@one_node
class TestEnvironment:
    """Names no path that root takes from somebody else."""

    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Path:
        folder = tmp_path.resolve() / "theirs"
        folder.mkdir()
        give_away(folder)
        return folder

    @pytest.mark.parametrize("variable", ["TMPDIR", "TEMP", "XDG_STATE_HOME", "HOME"])
    def test_no_file_is_put_into_a_folder_of_another_s(self, node: Node, theirs: Path, variable: str) -> None:
        """Who owns a folder may put another environment in the place of the one that is started as a proof."""
        node.install_dbx_patch()
        before = theirs.stat()

        for command in ("install", "uninstall"):
            done = node.run([node.python, "-m", f"dbx_patch.{command}"], {variable: str(theirs)})
            assert done.stderr == ""

        assert (theirs.stat().st_mtime_ns, list(theirs.iterdir())) == (before.st_mtime_ns, [])

    @pytest.mark.parametrize("variable", ["PYSPARK_PYTHON", "DATABRICKS_ROOT_VIRTUALENV_ENV"])
    def test_no_interpreter_of_another_s_is_started(self, node: Node, theirs: Path, variable: str) -> None:
        node.install_dbx_patch()
        python = theirs / "bin/python"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\ntouch '{node.root}/ran'\n")
        python.chmod(0o755)
        value = python if variable == "PYSPARK_PYTHON" else theirs

        done = node.run([node.python, "-m", "dbx_patch.install", "--all"], {variable: str(value)}, check=False)

        assert f"left out: {python}: others than its owner may change {theirs}\n" in done.stderr
        assert not (node.root / "ran").exists()

    def test_nothing_that_changes_how_python_starts_is_passed_on(self, node: Node, theirs: Path) -> None:
        node.install_dbx_patch()
        (theirs / "sitecustomize.py").write_text(f"open({str(node.root / 'ran')!r}, 'a').write('x')")
        environ = {"PYTHONPATH": str(theirs), "PYTHONSTARTUP": "x", "PYTHONHOME": ""}

        done = node.run([node.python, "-I", "-m", "dbx_patch.install"], environ)

        assert done.stderr == ""
        assert not (node.root / "ran").exists()


@one_node
class TestFiles:
    """Are written by their owner alone."""

    def test_link_that_somebody_has_placed_is_replaced_and_not_followed(self, node: Node, tmp_path: Path) -> None:
        node.install_dbx_patch()
        victim = tmp_path / "victim"
        victim.write_text("mine\n")
        shim = node.layer(node.runtime) / "dbx_patch_sitecustomize.py"
        shim.symlink_to(victim)

        assert node.dbx_patch("dbx_patch.install").returncode == 0

        assert victim.read_text() == "mine\n"
        assert not shim.is_symlink()

    def test_sitecustomize_of_another_s_keeps_its_owner_and_list_of_access(self, node: Node) -> None:
        node.install_dbx_patch()
        foreign = node.root / "etc" / node.version / "sitecustomize.py"
        foreign.chmod(0o4640)
        give_away(foreign)
        if subprocess.run([require("setfacl"), "-m", "u:4321:rw", foreign], check=False).returncode:
            pytest.skip("this machine's disk has no lists of access")
        os.setxattr(foreign, "user.note", b"kept")

        for command in ("install", "uninstall"):
            before = describe(foreign)
            assert node.dbx_patch(f"dbx_patch.{command}").returncode == 0
            assert describe(foreign) == before

    def test_nothing_in_a_path_ends_a_literal(self, node: Node) -> None:
        """Neither in the files' stamps nor in the lines that load them."""
        node.install_dbx_patch()
        odd = node.root / "a'''\"\"\"\n}; raise SystemExit(7) #\\"
        node.run([node.python, "-m", "venv", "--without-pip", odd])
        python = str(odd / "bin/python")

        done = node.dbx_patch("dbx_patch.install", "--json", "--python", python)

        assert (done.returncode, done.stderr) == (0, "")
        live = json.loads(node.dbx_patch("dbx_patch", "status", "--json", "--python", python).stdout)
        assert (live["live"], live["file"]) == (True, str(node.layer(odd) / "dbx_patch_sitecustomize.py"))


def describe(file: Path) -> tuple[object, ...]:
    """Tell who may do what with a file."""
    status = file.stat()
    attributes = {name: os.getxattr(file, name) for name in sorted(os.listxattr(file))}
    assert set(attributes) >= {"system.posix_acl_access", "user.note"}
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, attributes


@one_node
def test_sitecustomize_that_may_not_be_read_is_gone_around(node: Node) -> None:
    """By who may write to an environment of his own, over an interpreter that root has closed."""
    node.install_dbx_patch()
    node.open_to_all()
    environment = node.root / "environment"
    node.run([node.python, "-m", "venv", "--without-pip", "--system-site-packages", environment])
    for path in (environment, *environment.rglob("*")):
        give_away(path)
    (node.root / "etc" / node.version / "sitecustomize.py").chmod(0o600)
    for byte_code in (node.root / "usr/lib" / node.version / "__pycache__").glob("sitecustomize.*"):
        byte_code.unlink()
    python = environment / "bin/python"
    become = f"import os; os.setgid({SOMEBODY}); os.setuid({SOMEBODY})"
    install = (
        f"os.execv('{node.python}', ['{node.python}', '-m', 'dbx_patch.install', '--json', '--python', '{python}'])"
    )

    done = node.run([node.base, "-S", "-c", f"{become}; {install}"], {"HOME": str(environment)}, check=False)

    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["slot"] == 3
    assert "has no source that could be read" in json.loads(done.stdout)["passed_over"][0]
