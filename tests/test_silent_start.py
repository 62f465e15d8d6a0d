"""Python always starts: whatever is missing, malformed or hostile, exit code and stderr are what they would be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import candidates, describe
from tests.lab.missing import missing
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

BROKEN_SHIMS = {
    "syntax error": b"def (\n",
    "empty": b"",
    "NUL bytes": b"\0\0\0",
    "not UTF-8": b"name = '\xff\xfe'\n",
    "raises": b"raise RuntimeError\n",
    "exits": b"raise SystemExit(3)\n",
    "interrupted": b"raise KeyboardInterrupt\n",
    "recursion": b"def f():\n    f()\nf()\n",
    "of a Python to come": b"import a_module_that_is_no_more\n",
    "None": None,
}


@pytest.fixture
def shim(installed: Node) -> Iterator[Path]:
    """The shim's file, which is as it was after the test."""
    file = installed.layer(installed.runtime) / "dbx_patch_sitecustomize.py"
    content, status = file.read_bytes(), file.stat()
    yield file
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def starts_silently(notebook: Notebook, environ: Mapping[str, str] | None = None) -> bool:
    """Start a notebook's interpreter and the runtime's; both are well and say nothing."""
    done = notebook.run("pass", environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = notebook.node.run([notebook.node.python, "-c", "pass"], environ, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return True


@pytest.mark.parametrize("broken", BROKEN_SHIMS)
def test_broken_shim(installed: Node, shim: Path, broken: str) -> None:
    content = BROKEN_SHIMS[broken]
    if content is None:
        shim.unlink()
    else:
        shim.write_bytes(content)

    assert starts_silently(installed.make_notebook())


@pytest.mark.parametrize("flags", ["-I", "-E", "-s", "-S", "-O", "-OO", "-Wd", "-bb", "-Xdev"])
def test_every_way_to_start_python(installed: Node, flags: str) -> None:
    done = installed.run([installed.python, flags, "-c", "pass"])

    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.parametrize("name", ["stderr", "stdout", "stdin"])
def test_closed_streams(installed: Node, name: str) -> None:
    number = {"stdin": 0, "stdout": 1, "stderr": 2}[name]
    code = f"import os, sys; os.close({number}); os.execv(sys.argv[1], [sys.argv[1], '-c', 'import testx'])"

    assert installed.run([installed.base, "-c", code, installed.python], {"DBX_PATCH_DEBUG": "1"}).returncode == 0


LAYERS: dict[str, Callable[[Path], object]] = {
    "absent": lambda layer: layer.rename(layer.with_name("elsewhere")),
    "a file": lambda layer: layer.rename(layer.with_name("elsewhere")).with_name(layer.name).write_text(""),
    "a .pth in Latin-1": lambda layer: layer.joinpath("caf\udce9.pth").write_bytes(b"/caf\xe9\n"),
    "a .pth in UTF-16": lambda layer: layer.joinpath("a.pth").write_text("/somewhere\n", "utf-16"),
    "a .pth with NUL bytes": lambda layer: layer.joinpath("a.pth").write_bytes(b"/some\0where\n"),
    "a huge .pth": lambda layer: layer.joinpath("a.pth").write_bytes(b"/x" * 5_000_000),
    "a .pth that is a folder": lambda layer: layer.joinpath("a.pth").mkdir(),
    "a .pth that is a pipe": lambda layer: os.mkfifo(layer / "a.pth"),
    "a .pth that dangles": lambda layer: layer.joinpath("a.pth").symlink_to("nowhere"),
    "a .pth that is a loop": lambda layer: layer.joinpath("a.pth").symlink_to("a.pth"),
    "a finder that is not there": lambda layer: write_finder(layer, None),
    "a finder that raises": lambda layer: write_finder(layer, "raise RuntimeError"),
    "a finder that exits": lambda layer: write_finder(layer, "raise SystemExit(3)"),
    "a finder that is interrupted": lambda layer: write_finder(layer, "raise KeyboardInterrupt"),
    "a finder that is no Python": lambda layer: write_finder(layer, "def ("),
}


def write_finder(layer: Path, statement: str | None) -> None:
    """Write an editable install whose finder is at fault."""
    run = "import __editable___boom_finder; __editable___boom_finder.install()\n"
    layer.joinpath("__editable__.boom-1.pth").write_text(run)
    if statement is not None:
        layer.joinpath("__editable___boom_finder.py").write_text(f"{statement}\n")


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.parametrize("kind", LAYERS)
def test_layer(installed: Node, tmp_path: Path, kind: str) -> None:
    """A layer that `site` does not open, as the ones below a notebook's own, with something wrong in it."""
    layer = tmp_path / "site-packages"
    layer.mkdir()
    LAYERS[kind](layer)

    notebook = installed.make_notebook()
    assert starts_silently(notebook, {"PYTHONPATH": str(layer)})
    done = notebook.run("import testx", {"PYTHONPATH": str(layer)})
    assert (done.returncode, done.stderr) == (0, ""), "one install's fault is no other's"


HOOK_MODULES = {
    "no class": "",
    "no find_spec": "class WsfsImportHook: pass",
    "find_spec is no function": "class WsfsImportHook: find_spec = 1",
    "no class but a function": "def WsfsImportHook(): pass",
    "no finder": "class WsfsImportHook:\n def find_spec(self, fullname, target=None): return 'the original'",
    "a finder without a path": "class WsfsImportHook:\n __finder = 1\n"
    " def find_spec(self, fullname, target=None): return 'the original'",
    "replaces itself": "import sys; sys.modules[__name__] = None",
    "goes away": "import sys; del sys.modules[__name__]",
}


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.parametrize("shape", HOOK_MODULES)
def test_hook_of_another_shape(installed: Node, tmp_path: Path, shape: str) -> None:
    """The hook is private and changes: what is not of a shape we know works as it does without us."""
    package = tmp_path / "dbruntime"
    package.mkdir()
    package.joinpath("__init__.py").write_text("")
    package.joinpath("wsfs_import_hook.py").write_text(HOOK_MODULES[shape] + "\n")
    code = """\
try:
    import dbruntime.wsfs_import_hook as module
except ImportError as error:
    print(type(error).__name__)
else:
    print(sorted(name for name in vars(module) if not name.startswith("_")) if module else module)
    hook = getattr(module, "WsfsImportHook", None)
    if isinstance(hook, type) and callable(getattr(hook, "find_spec", None)):
        print(hook().find_spec("testx"))
"""
    notebook = installed.make_notebook()

    with_us = notebook.run(code, {"PYTHONPATH": str(tmp_path)})
    without_us = notebook.run(code, {"PYTHONPATH": str(tmp_path), **OFF})

    assert (with_us.returncode, with_us.stdout) == (without_us.returncode, without_us.stdout)
    assert with_us.stderr == without_us.stderr


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_python_3_9_runs_the_shim(installed: Node) -> None:
    """It is older than what we support, and starts the file all the same, where it shares a layer with a newer one."""
    pythons = [python for python in candidates("python3.9") if describe(python) is not None]
    if not pythons:
        missing("CPython 3.9")
    layer = installed.layer(installed.runtime)
    load = f"import sys; sys.path.append({str(layer)!r}); import dbx_patch_sitecustomize as shim"
    code = (
        f"{load}; import testx; print(testx.__file__, shim.started, [line for line in shim.journal if 'Error' in line])"
    )

    done = installed.run([pythons[0], "-I", "-c", code], {"LD_LIBRARY_PATH": ""})

    assert done.stdout == f"{installed.project('testx')}/src/testx/__init__.py True []\n"
