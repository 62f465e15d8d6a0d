"""A `sitecustomize` of every form: it is extended, a `.pth` file is used instead, or the install is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    [
        ["venv"],
        pytest.param(["venv", "--system-site-packages"], marks=pytest.mark.matrix),
        pytest.param(["virtualenv"], marks=pytest.mark.matrix),
        ["virtualenv", "--system-site-packages"],
    ],
    ids=" ".join,
)
DESCRIBE_START = """\
import json, sys
theirs = getattr(sys.modules.get("sitecustomize"), "theirs", None)
print(json.dumps({"live": "dbx_patch_sitecustomize" in sys.modules, "theirs": theirs}))
"""


def start(
    node: Node, python: Path | None = None, environ: dict[str, str] | None = None, *, fails: bool = False
) -> dict[str, Any]:
    """Return whether the shim is live in a new process, and what the foreign `sitecustomize` set before it `fails`."""
    done = node.run([python or node.python, "-c", DESCRIBE_START], environ)
    assert ("Error in sitecustomize" in done.stderr) == fails
    assert fails or done.stderr == ""
    return dict(json.loads(done.stdout))


def install(node: Node, python: Path | None = None) -> dict[str, Any]:
    """Install the shim, and return the result."""
    done = node.dbx_patch("dbx_patch.install", "--json", *(["--python", str(python)] if python else []))
    assert done.returncode == 0, done.stdout
    return dict(json.loads(done.stdout))


def uninstall(node: Node, python: Path | None = None) -> None:
    """Uninstall the shim."""
    about = ["--python", str(python)] if python else []
    assert node.dbx_patch("dbx_patch.uninstall", *about).returncode == 0


# The forms, by the standard library's folder


def package(library: Path) -> None:
    (library / "sitecustomize").mkdir()
    (library / "sitecustomize/__init__.py").write_text("theirs = 1\n")


def byte_code_only(library: Path) -> None:
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


def early_end(library: Path) -> None:
    (library / "sitecustomize.py").write_text("theirs = 1\nraise ImportError\n")


FORMS: dict[Callable[[Path], None], tuple[int, int | None]] = {
    package: (2, 1),
    byte_code_only: (3, 1),
    hard_link: (3, 1),
    dangling_link: (1, None),
    carriage_returns: (2, 1),
    another_encoding: (2, 1),
    shifted_encoding: (2, 1),
    open_end: (2, 1),
    early_end: (3, None),
}
"""How each is created, the slot that is right for it, and what it sets when it runs."""


def remove_form(library: Path, before: set[Path]) -> None:
    """Remove what a form created."""
    for path in sorted({*library.iterdir()} - before):
        if path.is_dir() and not path.is_symlink():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()


def test_sitecustomize_of_every_form_keeps_running_and_is_restored(node: Node) -> None:
    library = node.root / "usr/lib" / node.version
    node.install_dbx_patch()
    files = {*library.iterdir()}
    for make, (slot, theirs) in FORMS.items():
        make(library)
        before = node.snapshot()

        assert install(node)["slot"] == slot, make.__name__
        started = start(node, fails=make is early_end)
        assert started == {"live": True, "theirs": theirs}, make.__name__
        uninstall(node)

        assert node.snapshot() == before, make.__name__
        remove_form(library, files)


def test_dangling_link_in_site_packages_is_not_written_through(node: Node) -> None:
    node.install_dbx_patch()
    target = node.root / "target.py"
    (node.layer(node.runtime) / "sitecustomize.py").symlink_to(target)
    before = node.snapshot()

    assert install(node)["slot"] == 3

    assert not target.exists()
    uninstall(node)
    assert node.snapshot() == before


def test_where_a_kernel_s_sitecustomize_cannot_be_extended_a_pth_file_is_used(node: Node) -> None:
    """It comes before every other one in a notebook, so to extend another one would be of no use there."""
    node.install_dbx_patch()
    folder = node.root / "databricks/python_shell"
    hard_link(folder)
    before = node.snapshot()

    done = install(node)

    assert done["slot"] == 3
    first, *reason = done["passed_over"][0].splitlines()
    assert first == f"Notebook kernels import {folder}/sitecustomize.py before all others."
    assert reason[0] == f"{folder}/sitecustomize.py has more than one hard link."
    assert start(node, environ={"PYTHONPATH": str(folder)}) == {"live": True, "theirs": 1}
    uninstall(node)
    assert node.snapshot() == before


@each_kind
def test_pth_file_and_extended_sitecustomize_reach_environments_of_every_kind(node: Node, how: list[str]) -> None:
    """Where the foreign `sitecustomize` can't be replaced: here it would be detached from its other name."""
    library = node.root / "usr/lib" / node.version
    hard_link(library)
    node.install_dbx_patch()
    environment = node.root / "environment"
    python = environment / "bin/python"
    make_environment(node, environment, how)
    before = node.snapshot()

    assert install(node, python)["slot"] == 3

    assert start(node, python) == {"live": True, "theirs": 1}
    assert start(node) == {"live": False, "theirs": 1}
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json", "--python", str(python)).stdout)
    assert (status["live"], status["slot"]) == (True, 3)
    uninstall(node, python)
    assert node.snapshot() == before

    (library / "other_name.py").unlink()  # and now it can be extended, for environments that exist or are created
    assert install(node)["slot"] == 2
    make_environment(node, node.root / "later", how)
    assert start(node, python) == start(node, node.root / "later/bin/python") == {"live": True, "theirs": 1}


def make_environment(node: Node, environment: Path, how: list[str]) -> None:
    """Create an environment of the node's base interpreter, without pip."""
    if how[0] == "venv":
        node.run([node.base, "-m", *how, "--without-pip", environment])
    else:
        node.make_virtualenv(environment, *how[1:])


def test_sitecustomize_of_root_never_loads_what_another_user_can_write(node: Node) -> None:
    need_root("give a folder away")
    foreign = node.root / "usr/lib" / node.version / "sitecustomize.py"
    foreign.write_text("theirs = 1\n")
    node.install_dbx_patch()
    environment = node.root / "environment"
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    os.chown(node.layer(environment), 1234, 1234)

    done = install(node, environment / "bin/python")

    assert done["slot"] == 3
    assert done["passed_over"][0].splitlines()[1] == f"They can modify {node.layer(environment)}."
    assert foreign.read_text() == "theirs = 1\n"


def test_where_nothing_can_be_written_every_reason_is_reported(node: Node) -> None:
    need_root("become another user")
    library = node.root / "usr/lib" / node.version
    hard_link(library)
    node.install_dbx_patch()
    node.open_to_all()
    before = node.snapshot()
    run = f"os.execv('{node.python}', ['{node.python}', '-m', 'dbx_patch.install'])"

    done = node.run([node.base, "-c", f"import os; os.setgid(65534); os.setuid(65534); {run}"], check=False)

    assert (done.returncode, done.stdout) == (1, "")
    _, first, second, fix, _ = done.stderr.splitlines()
    assert first == f"{library}/sitecustomize.py belongs to another user."
    assert second == f"{node.layer(node.runtime).resolve()} is not writable by this user."
    assert fix.startswith("Fix: run `sudo ")
    assert node.snapshot() == before
