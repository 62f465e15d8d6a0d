"""What docs/security.md promises: who can write what, what is trusted, and what is refused.

`tests/unit/test_trust.py` has the check of paths that these rest on.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import need_root
from tests.lab.trace import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.node import Node, Notebook

ANOTHER_USER = 1234
pytestmark = pytest.mark.one_python
one_node = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])


@pytest.fixture(autouse=True)
def _root() -> None:
    need_root("give a file away")


def give_away(path: Path) -> None:
    os.chown(path, ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)


@one_node
class TestEnvironment:
    """A variable never makes root use a path that another user could have prepared."""

    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Path:
        folder = tmp_path.resolve() / "theirs"
        folder.mkdir()
        give_away(folder)
        return folder

    def test_no_file_is_written_to_a_folder_of_another_user(self, node: Node, theirs: Path) -> None:
        """The owner of a folder could exchange the environment that is started to verify the install."""
        node.install_dbx_patch()
        before = theirs.stat()
        for variable in ("TMPDIR", "TEMP", "XDG_STATE_HOME", "HOME"):
            for command in ("install", "uninstall"):
                done = node.run([node.python, "-m", f"dbx_patch.{command}"], {variable: str(theirs)})
                assert done.stderr == ""

            assert (theirs.stat().st_mtime_ns, list(theirs.iterdir())) == (before.st_mtime_ns, []), variable

    def test_no_interpreter_of_another_user_is_started(self, node: Node, theirs: Path) -> None:
        node.install_dbx_patch()
        python = theirs / "bin/python"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\ntouch '{node.root}/ran'\n")
        python.chmod(0o755)
        for variable, value in {"PYSPARK_PYTHON": python, "DATABRICKS_ROOT_VIRTUALENV_ENV": theirs}.items():
            done = node.run([node.python, "-m", "dbx_patch.install", "--all"], {variable: str(value)}, check=False)

            assert f"{python}: other users can modify {theirs}\n" in done.stderr
            assert not (node.root / "ran").exists()

    def test_no_variable_that_changes_how_python_starts_is_passed_on(self, node: Node, theirs: Path) -> None:
        node.install_dbx_patch()
        (theirs / "sitecustomize.py").write_text(f"open({str(node.root / 'ran')!r}, 'a').write('x')")
        environ = {"PYTHONPATH": str(theirs), "PYTHONSTARTUP": "x", "PYTHONHOME": ""}

        done = node.run([node.python, "-I", "-m", "dbx_patch.install"], environ)

        assert done.stderr == ""
        assert not (node.root / "ran").exists()


@one_node
class TestFiles:
    """Only their owner can write them."""

    def test_link_in_the_place_of_the_shim_is_replaced_and_not_followed(self, node: Node, tmp_path: Path) -> None:
        node.install_dbx_patch()
        victim = tmp_path / "victim"
        victim.write_text("mine\n")
        shim = node.layer(node.runtime) / "dbx_patch_sitecustomize.py"
        shim.symlink_to(victim)

        node.install_shim()

        assert victim.read_text() == "mine\n"
        assert not shim.is_symlink()

    def test_sitecustomize_of_another_user_keeps_its_owner_and_access_list(self, node: Node) -> None:
        node.install_dbx_patch()
        foreign = node.root / "etc" / node.version / "sitecustomize.py"
        foreign.chmod(0o4640)
        give_away(foreign)
        if subprocess.run([require("setfacl"), "-m", "u:4321:rw", foreign], check=False).returncode:
            pytest.skip("this machine's disk has no access lists")
        os.setxattr(foreign, "user.note", b"kept")

        for command in ("install", "uninstall"):
            before = describe(foreign)
            assert node.dbx_patch(f"dbx_patch.{command}").returncode == 0
            assert describe(foreign) == before

    def test_path_of_any_characters_stays_a_literal(self, node: Node) -> None:
        """In the block that loads the shim."""
        node.install_dbx_patch()
        odd = node.root / "a'''\"\"\"\n}; raise SystemExit(7) #\\"
        node.run([node.python, "-m", "venv", "--without-pip", odd])
        python = str(odd / "bin/python")

        done = node.dbx_patch("dbx_patch.install", "--json", "--python", python)

        assert (done.returncode, done.stderr) == (0, "")
        live = json.loads(node.dbx_patch("dbx_patch", "status", "--json", "--python", python).stdout)
        assert (live["live"], live["file"]) == (True, str(node.layer(odd) / "dbx_patch_sitecustomize.py"))


@one_node
class TestByteCode:
    """Python runs byte code instead of the source file, at every start and as every user."""

    def test_shim_is_not_installed_beside_a_cache_that_others_can_write(self, node: Node) -> None:
        node.install_dbx_patch()
        cache = node.layer(node.runtime).resolve() / "__pycache__"
        cache.mkdir(exist_ok=True)
        cache.chmod(0o777)
        before = node.snapshot()

        done = node.dbx_patch("dbx_patch.install")

        assert done.returncode == 1
        assert f"They can modify {cache}." in done.stderr
        assert f"Fix: run `rm -r {cache}`; Python creates it again." in done.stderr
        assert node.snapshot() == before

    def test_sitecustomize_with_a_cache_that_others_can_write_is_not_extended(self, node: Node) -> None:
        node.install_dbx_patch()
        library = node.root / "usr/lib" / node.version
        (library / "__pycache__").chmod(0o777)

        installed = json.loads(node.dbx_patch("dbx_patch.install", "--json").stdout)

        assert installed["slot"] == 3
        assert f"They can modify {library}/__pycache__." in installed["passed_over"][0]
        assert [file for file in installed["changed"] if file.startswith(str(library))] == []
        node.run_fixes(installed["passed_over"][0])
        assert json.loads(node.dbx_patch("dbx_patch.install", "--json").stdout)["slot"] == 2


def describe(file: Path) -> tuple[object, ...]:
    """Return who can do what with a file."""
    status = file.stat()
    attributes = {name: os.getxattr(file, name) for name in sorted(os.listxattr(file))}
    assert set(attributes) >= {"system.posix_acl_access", "user.note"}
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, attributes


@one_node
def test_where_a_sitecustomize_cannot_be_read_a_pth_file_is_used(node: Node) -> None:
    """A user installs into an own environment, over an interpreter that only root can read and write."""
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
    become = f"import os; os.setgid({ANOTHER_USER}); os.setuid({ANOTHER_USER})"
    install = (
        f"os.execv('{node.python}', ['{node.python}', '-m', 'dbx_patch.install', '--json', '--python', '{python}'])"
    )

    done = node.run([node.base, "-S", "-c", f"{become}; {install}"], {"HOME": str(environment)}, check=False)

    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["slot"] == 3
    first, owner = json.loads(done.stdout)["passed_over"][0].splitlines()
    assert first.endswith("sitecustomize.py can't be read by this user.")
    assert owner == "It belongs to root:root, mode 0600."


class TestConnections:
    """No process of ours makes an internet socket."""

    def list_sockets(self, node: Node, notebook: Notebook, *commands: Sequence[object]) -> list[str]:
        """Run commands in a notebook's environment; return the system calls that make internet sockets."""
        log = node.root / "sockets.log"
        script = "".join(f"{shlex.join(map(str, command))}\n" for command in commands)
        strace = [require("strace"), "-f", "-qq", "-e", "trace=socket", "-o", log]
        node.run([*strace, "sh", "-c", f"set -e\n{script}"], notebook.environ)
        calls = log.read_text().splitlines()
        log.unlink()
        return [call for call in calls if "AF_INET" in call]

    @one_node
    def test_start_import_and_doctor_connect_to_nothing(self, installed: Node, notebook: Notebook) -> None:
        python = notebook.python

        ours = [python, "-c", "import testx"], [python, "-m", "dbx_patch", "doctor", "testx"]

        assert self.list_sockets(installed, notebook, *ours) == []

    @one_node
    def test_trace_shows_a_socket(self, installed: Node, notebook: Notebook) -> None:
        connect = "import socket; socket.socket(socket.AF_INET).close()"

        assert len(self.list_sockets(installed, notebook, [notebook.python, "-c", connect])) == 1

    @pytest.mark.matrix
    @one_node
    def test_other_commands_connect_to_nothing(self, node: Node) -> None:
        node.install_dbx_patch()
        words = (["install"], ["status"], ["fingerprint"], ["uninstall"])
        commands = [[node.python, "-m", "dbx_patch", *each] for each in words]

        assert self.list_sockets(node, node.make_notebook(), *commands) == []
