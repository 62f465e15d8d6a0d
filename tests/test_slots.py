"""A `sitecustomize` of every form: extended, gone around by a `.pth` file, or refused with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import need_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.node import Node

pytestmark = [
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
    pytest.mark.pythons("3.11-debian", "3.12"),
]

each_kind = pytest.mark.parametrize(
    "how",
    [["venv"], ["venv", "--system-site-packages"], ["virtualenv"], ["virtualenv", "--system-site-packages"]],
    ids=" ".join,
)
ALIVE = """\
import sys
print('dbx_patch_sitecustomize' in sys.modules, getattr(sys.modules.get('sitecustomize'), 'theirs', None))
"""


def package(library: Path) -> None:
    (library / "sitecustomize").mkdir()
    (library / "sitecustomize/__init__.py").write_text("theirs = 1\n")


def lone_byte_code(library: Path) -> None:
    """Byte code is of one Python: the node's own compiles it."""
    source, python = library / "source.py", library.parent.parent / "bin" / library.name
    source.write_text("theirs = 1\n")
    compile_ = "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True)"
    command = [str(python), "-Ic", compile_, str(source), str(library / "sitecustomize.pyc")]
    subprocess.run(command, env={"LD_LIBRARY_PATH": str(library.parent)}, check=True, timeout=60)
    source.unlink()


def hard_link(library: Path) -> None:
    (library / "other_name.py").write_text("theirs = 1\n")
    os.link(library / "other_name.py", library / "sitecustomize.py")


def dangling_link(library: Path) -> None:
    (library / "sitecustomize.py").symlink_to("/nowhere/at/all.py")


def carriage_returns(library: Path) -> None:
    (library / "sitecustomize.py").write_bytes(b"theirs = 1\r\nif theirs:\r\n    pass\r\n")


def another_encoding(library: Path) -> None:
    (library / "sitecustomize.py").write_bytes(
        "# coding: koi8-r\ntheirs = 1  # \u043f\u0440\u0438\u0432\u0435\u0442".encode("koi8-r")
    )


def shifted_encoding(library: Path) -> None:
    (library / "sitecustomize.py").write_bytes(b"# coding: utf-7\ntheirs = 1\n")


def open_end(library: Path) -> None:
    (library / "sitecustomize.py").write_bytes(b"theirs = 1\nif theirs: \\\n    pass; \\")


def leaves_early(library: Path) -> None:
    (library / "sitecustomize.py").write_text("theirs = 1\nraise ImportError\n")


FORMS: dict[str, tuple[Callable[[Path], None], int, int | None]] = {
    "package": (package, 2, 1),
    "lone byte code": (lone_byte_code, 3, 1),
    "hard link": (hard_link, 3, 1),
    "dangling link": (dangling_link, 1, None),
    "CRLF": (carriage_returns, 2, 1),
    "KOI8-R": (another_encoding, 2, 1),
    "UTF-7": (shifted_encoding, 2, 1),
    "an open end": (open_end, 2, 1),
    "an early end": (leaves_early, 3, None),
}
"""How each is made in the standard library's folder, the slot that is right for it, and what it sets at run time."""


@pytest.mark.parametrize("form", FORMS)
def test_sitecustomize_of_every_form_keeps_running_and_comes_back(node: Node, form: str) -> None:
    make, slot, theirs = FORMS[form]
    make(node.root / "usr/lib" / node.version)
    node.install_dbx_patch()
    before = node.snapshot()

    done = node.dbx_patch("dbx_patch.install", "--json")

    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["slot"] == slot
    alive = node.run([node.python, "-c", ALIVE])
    assert alive.stdout == f"True {theirs}\n"
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert node.snapshot() == before


def test_link_that_dangles_in_the_layer_itself_is_not_written_through(node: Node) -> None:
    node.install_dbx_patch()
    layer = node.layer(node.runtime)
    target = node.root / "somebody's.py"
    (layer / "sitecustomize.py").symlink_to(target)
    before = node.snapshot()

    done = node.dbx_patch("dbx_patch.install", "--json")

    assert (done.returncode, json.loads(done.stdout)["slot"]) == (0, 3)
    assert not target.exists()
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert node.snapshot() == before


def test_kernel_s_own_that_can_t_be_extended_is_gone_around(node: Node) -> None:
    """It stands before all others in a notebook, so no other is of use there."""
    node.install_dbx_patch()
    hard_link(node.root / "databricks/python_shell")
    before = node.snapshot()

    done = json.loads(node.dbx_patch("dbx_patch.install", "--json").stdout)

    assert done["slot"] == 3
    assert "has more than one hard link" in done["passed_over"][0]
    assert f"{node.root}/databricks/python_shell/sitecustomize.py" in done["passed_over"][0]
    environ = {"PYTHONPATH": str(node.root / "databricks/python_shell")}
    assert node.run([node.python, "-c", ALIVE], environ).stdout == "True 1\n"
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0
    assert node.snapshot() == before


@each_kind
def test_pth_file_is_good_for_an_environment_of_every_kind(node: Node, how: list[str]) -> None:
    """Where somebody else's `sitecustomize` may not be written: here it would be cut off from its other name."""
    hard_link(node.root / "usr/lib" / node.version)
    node.install_dbx_patch()
    environment = node.root / "environment"
    make_environment(node, environment, how)
    before = node.snapshot()
    python = str(environment / "bin/python")

    done = node.dbx_patch("dbx_patch.install", "--python", python)

    assert (done.returncode, done.stderr) == (0, "")
    assert "good for this environment alone" in done.stdout
    alive = node.run([python, "-c", ALIVE])
    assert (alive.stdout, alive.stderr) == ("True 1\n", "")
    assert node.run([node.python, "-c", ALIVE]).stdout == "False 1\n"
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json", "--python", python).stdout)
    assert (status["live"], status["slot"]) == (True, 3)
    assert node.dbx_patch("dbx_patch.uninstall", "--python", python).returncode == 0
    assert node.snapshot() == before


@each_kind
def test_extended_sitecustomize_reaches_an_environment_of_every_kind(node: Node, how: list[str]) -> None:
    (node.root / "usr/lib" / node.version / "sitecustomize.py").write_text("theirs = 1\n")
    node.install_dbx_patch()
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    environment = node.root / "environment"

    make_environment(node, environment, how)

    assert node.run([environment / "bin/python", "-c", ALIVE]).stdout == "True 1\n"


def make_environment(node: Node, environment: Path, how: list[str]) -> None:
    """Make an environment of the node's base interpreter, without a pip of its own."""
    if how[0] == "venv":
        node.run([node.base, "-m", *how, "--without-pip", environment])
    else:
        node.make_virtualenv(environment, *how[1:])


def test_nobody_is_made_to_run_what_another_user_may_write(node: Node) -> None:
    """A `sitecustomize` of root's must not load a file from an environment that is another's."""
    need_root("give a folder away")
    (node.root / "usr/lib" / node.version / "sitecustomize.py").write_text("theirs = 1\n")
    node.install_dbx_patch()
    environment = node.root / "environment"
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    os.chown(node.layer(environment), 1234, 1234)

    done = json.loads(node.dbx_patch("dbx_patch.install", "--json", "--python", str(environment / "bin/python")).stdout)

    assert done["slot"] == 3
    assert (node.root / "usr/lib" / node.version / "sitecustomize.py").read_text() == "theirs = 1\n"


def test_where_nothing_can_be_written_every_reason_is_given(node: Node) -> None:
    need_root("become another user")
    hard_link(node.root / "usr/lib" / node.version)
    node.install_dbx_patch()
    node.open_to_all()
    before = node.snapshot()
    run = f"os.execv('{node.python}', ['{node.python}', '-m', 'dbx_patch.install'])"

    done = node.run([node.base, "-c", f"import os; os.setgid(65534); os.setuid(65534); {run}"], check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "is not yours to write; " in done.stderr
    assert "can't be written to. " in done.stderr
    assert node.snapshot() == before
