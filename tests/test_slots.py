"""A `sitecustomize` of every form: it is extended, a `.pth` file is used instead, or the install is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch.installer.shim_files import add_block
from dbx_patch.sitecustomize_template import SHIM
from tests.lab.missing import need_root
from tests.lab.older import make_older

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.node import Node

pytestmark = [
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
    pytest.mark.one_python,
]

each_kind = pytest.mark.parametrize(
    "how",
    [
        pytest.param(["venv"], marks=pytest.mark.matrix),
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
    """Install the shim, check that `status` agrees on what it reaches, and return the result."""
    about = ["--python", str(python)] if python else []
    done = node.dbx_patch("dbx_patch.install", "--json", *about)
    assert done.returncode == 0, done.stdout
    result = json.loads(done.stdout)
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json", *about).stdout)
    for fact in ("slot", "reaches_notebooks", "notebook"):
        assert status[fact] == result[fact]
    assert result["reaches_notebooks"] == (result["slot"] != 3)
    return dict(result)


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


@pytest.mark.parametrize(
    "make",
    [hard_link, *(pytest.param(make, marks=pytest.mark.matrix) for make in (byte_code_only, early_end))],
    ids=lambda make: make.__name__,
)
def test_where_notebooks_are_not_reached_strict_changes_nothing_and_the_printed_commands_help(
    node: Node, make: Callable[[Path], None]
) -> None:
    library = node.root / "usr/lib" / node.version
    node.install_dbx_patch()
    notebook = node.make_notebook()
    make(library)
    loader = next(library.glob("sitecustomize.py*"))
    before = node.snapshot()

    strict = node.dbx_patch("dbx_patch.install", "--strict")

    head = f"error: Nothing was installed for {node.python}, and nothing was changed."
    assert (strict.returncode, strict.stdout) == (1, "")
    assert [text for text in (f"{head}\n", f"\n{loader} ") if text not in strict.stderr] == []
    assert node.snapshot() == before
    printed = node.dbx_patch("dbx_patch.install").stdout
    assert "Notebooks are not reached: they start without the shim.\n" in printed
    assert f"  {loader} " in printed
    assert not start(node, notebook.python, fails=make is early_end)["live"]
    if make is early_end:
        loader.write_text("theirs = 1\n")  # no command repairs it
    node.run_fixes(printed)
    assert start(node, notebook.python)["live"]
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (status["reaches_notebooks"], status["passed_over"]) == (True, [])


def test_newer_shim_that_does_not_reach_notebooks_is_reported_and_not_enough_for_strict(node: Node) -> None:
    hard_link(node.root / "usr/lib" / node.version)
    node.install_dbx_patch()
    install(node)
    make_older(node.layer(node.runtime).resolve(), "99.0")
    before = node.snapshot()

    kept = node.dbx_patch("dbx_patch.install")
    strict = node.dbx_patch("dbx_patch.install", "--strict")

    assert kept.stdout.splitlines()[2] == "Notebooks are not reached: they start without the shim."
    assert (strict.returncode, strict.stdout) == (1, "")
    assert strict.stderr.splitlines()[1:] == [
        "Its dbx-patch 99.0 is newer, and does not reach notebooks.",
        "Fix: to replace it, run the command again with `--force`.",
    ]
    assert node.snapshot() == before


def test_in_a_notebook_s_own_environment_that_notebook_is_reached_and_no_other(node: Node) -> None:
    hard_link(node.root / "usr/lib" / node.version)
    node.install_dbx_patch()
    notebook, other = node.make_notebook(), node.make_notebook()
    command = f"import dbx_patch; print(dbx_patch.{{}}('{notebook.python}'))"

    done = notebook.run(command.format("install_sitecustomize"), check=True).stdout
    status = notebook.run(command.format("check_sitecustomize_status"), check=True).stdout

    only = (
        "Only this notebook is reached: other notebooks have environments of their own.\nFix: to reach every notebook, "
    )
    assert (only in done, only in status) == (True, True)
    assert status.splitlines()[1].endswith(f" runs in {notebook.python} (slot 3), in this notebook only.")
    assert [start(node, found.python)["live"] for found in (notebook, other)] == [True, False]
    assert install(node, notebook.python)["notebook"]
    code = "import dbx_patch; dbx_patch.patch_and_install()"
    assert "Other notebooks are not reached" in other.run(code, check=True).stdout
    assert not install(node)["notebook"]


def test_kernel_s_sitecustomize_that_appears_later_keeps_notebooks_from_being_reached(node: Node) -> None:
    node.install_dbx_patch()
    install(node)
    folder = node.root / "databricks/python_shell"
    (folder / "sitecustomize.py").write_text("theirs = 1\n")
    kernel = {"PYTHONPATH": str(folder)}
    assert start(node, environ=kernel) == {"live": False, "theirs": 1}

    shown = node.dbx_patch("dbx_patch", "status").stdout
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)

    assert shown.splitlines()[1].endswith(f" runs in {node.python} (slot 1), but notebooks are not reached.")
    reason = f"Notebook kernels import {folder}/sitecustomize.py before all others.\nIt does not load the shim."
    assert (status["live"], status["reaches_notebooks"], status["passed_over"]) == (True, False, [reason])
    node.run_fixes(shown)
    assert start(node, environ=kernel) == {"live": True, "theirs": 1}
    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (status["reaches_notebooks"], status["passed_over"]) == (True, [])


def remove_form(library: Path, before: set[Path]) -> None:
    """Remove what a form created."""
    for path in sorted({*library.iterdir()} - before):
        if path.is_dir() and not path.is_symlink():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()


@pytest.mark.matrix
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


def test_project_s_own_sitecustomize_is_left_alone_and_the_printed_fix_has_it_run_again(node: Node) -> None:
    """It is in a root, so `site` puts it on the path. It must not load the shim: it goes with its project."""
    node.install_dbx_patch()
    project = node.project("withsite")
    theirs = b"import builtins\nbuiltins.theirs = True\n"
    module = project / "src/sitecustomize.py"
    (project / "src/withsite").mkdir(parents=True)
    (project / "src/withsite/__init__.py").touch()
    module.write_bytes(theirs)
    (project / "pyproject.toml").write_text('[project]\nname = "withsite"\nversion = "1"\n')
    node.install_editable(project)

    def ask() -> dict[str, Any]:
        code = "import builtins, json, sys\n"
        code += "print(json.dumps([hasattr(builtins, 'theirs'), 'dbx_patch_sitecustomize' in sys.modules]))"
        return dict(zip(["theirs", "live"], json.loads(node.run([node.python, "-c", code]).stdout), strict=True))

    assert ask() == {"theirs": True, "live": False}
    # An older release added its block to the project's file.
    module.write_bytes(add_block(theirs, str(node.layer(node.runtime).resolve() / SHIM)))

    result = install(node)

    assert (result["slot"], result["silenced"]) == (1, str(module))
    assert module.read_bytes() == theirs
    assert ask() == {"theirs": False, "live": True}
    printed = node.dbx_patch("dbx_patch", "status").stdout.splitlines()
    at = printed.index("A project's `sitecustomize` does not run:")
    assert printed[at + 1] == f"  {module}"
    pth = Path(printed[at + 4].strip())
    # As the text says.
    module.rename(module.with_name("my_startup.py"))
    pth.write_text("import my_startup\n")
    assert ask() == {"theirs": True, "live": True}
    assert "does not run" not in node.dbx_patch("dbx_patch", "status").stdout

    module.with_name("my_startup.py").rename(module)
    pth.unlink()
    uninstall(node)
    assert ask() == {"theirs": True, "live": False}


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
@pytest.mark.pythons("debian")  # whose `site` knows more kinds of layers
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
    exposed = node.layer(environment)
    assert done["passed_over"][0].splitlines()[1:] == [
        f"They can modify {exposed}.",
        "It belongs to 1234:1234, mode 0755.",
        f"Fix: if only root needs to change it, run `chown -h root: {exposed}`.",
    ]
    assert foreign.read_text() == "theirs = 1\n"
    node.run_fixes(done["passed_over"][0])
    exposed.chmod(0o777)
    fix = install(node, environment / "bin/python")["passed_over"][0].splitlines()[-1]
    assert fix == f"Fix: run `chmod go-w {exposed}`."
    node.run_fixes(fix)
    assert install(node, environment / "bin/python")["slot"] == 2


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
    _, first, owner, second, mode, fix, _ = done.stderr.splitlines()
    assert first == f"{library}/sitecustomize.py belongs to another user."
    assert second == f"{node.layer(node.runtime).resolve()} is not writable by this user."
    assert (owner, mode) == ("It belongs to root:root, mode 0644.", "It belongs to root:root, mode 0755.")
    assert fix.startswith("Fix: run `sudo ")
    assert node.snapshot() == before
