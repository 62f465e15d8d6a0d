"""Python always starts: whatever is missing, malformed or hostile, exit code and stderr are as without the shim."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import candidates, describe
from tests.lab.missing import missing, need_root
from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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
    "for another Python": b"import a_module_that_this_python_does_not_have\n",
    "absent": None,
}


@pytest.fixture
def shim(installed: Node) -> Iterator[Path]:
    """The shim's file. Its content is restored after the test."""
    file = installed.layer(installed.runtime) / "dbx_patch_sitecustomize.py"
    content, status = file.read_bytes(), file.stat()
    yield file
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


NOBODY = 65534
SILENT = {"exit code": 0, "stdout": "", "stderr": ""}


def start_python(node: Node, command: Sequence[object], environ: Mapping[str, str]) -> dict[str, object]:
    """Start an interpreter; return what a user sees of it."""
    done = node.run(command, environ, check=False)
    return {"exit code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def start_both(notebook: Notebook, environ: Mapping[str, str] | None = None) -> dict[str, dict[str, object]]:
    """Start a notebook's interpreter and the runtime's."""
    node, environ = notebook.node, dict(environ or {})
    return {
        "notebook": start_python(node, [notebook.python, "-c", "pass"], notebook.environ | environ),
        "runtime": start_python(node, [node.python, "-c", "pass"], environ),
    }


def test_broken_shim(notebook: Notebook, shim: Path) -> None:
    starts = {}
    for broken, content in BROKEN_SHIMS.items():
        if content is None:
            shim.unlink()
        else:
            shim.write_bytes(content)
        starts[broken] = start_both(notebook)

    assert starts == {key: {"notebook": SILENT, "runtime": SILENT} for key in BROKEN_SHIMS}


def test_every_way_to_start_python(installed: Node) -> None:
    flags = ["-I", "-E", "-s", "-S", "-O", "-OO", "-Wd", "-bb", "-Xdev"]

    starts = {flag: start_python(installed, [installed.python, flag, "-c", "pass"], {}) for flag in flags}

    assert starts == dict.fromkeys(flags, SILENT)


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.oldest_and_newest
@pytest.mark.parametrize("owner", [NOBODY, 0], ids=["their own", "root's"])
def test_first_start_of_a_user_whose_byte_code_is_in_another_folder(notebook: Notebook, owner: int) -> None:
    """Databricks' SSH kernels have PYTHONPYCACHEPREFIX. If the folder is another user's, each start compiles."""
    need_root("run Python as another user")
    node = notebook.node
    node.open_to_all()
    folder = node.root / "byte-code"
    folder.mkdir()
    os.chown(folder, owner, owner)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    code = "from testx import function1; print(function1())"
    environ = notebook.environ | {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    try:
        start = start_python(node, [*as_nobody, notebook.python, "-c", code], environ)
        is_cached = any(folder.rglob("dbx_patch_sitecustomize.*"))
    finally:
        shutil.rmtree(folder)

    assert start == SILENT | {"stdout": f"function1 of {node.project('testx')}/src/testx/functions.py\n"}
    assert is_cached == (owner == NOBODY)


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.oldest_and_newest
def test_closed_streams(installed: Node) -> None:
    codes = {}
    for number, name in enumerate(["stdin", "stdout", "stderr"]):
        code = f"import os, sys; os.close({number}); os.execv(sys.argv[1], [sys.argv[1], '-c', 'import testx'])"
        done = installed.run([installed.base, "-c", code, installed.python], {"DBX_PATCH_DEBUG": "1"}, check=False)
        codes[name] = done.returncode

    assert codes == {"stdin": 0, "stdout": 0, "stderr": 0}


LAYERS: dict[str, Callable[[Path], object]] = {
    "absent": lambda layer: layer.rename(layer.with_name("elsewhere")),
    "a file": lambda layer: layer.rename(layer.with_name("elsewhere")).with_name(layer.name).write_text(""),
    "a .pth in Latin-1": lambda layer: layer.joinpath("caf\udce9.pth").write_bytes(b"/caf\xe9\n"),
    "a .pth in UTF-16": lambda layer: layer.joinpath("a.pth").write_text("/somewhere\n", "utf-16"),
    "a .pth with NUL bytes": lambda layer: layer.joinpath("a.pth").write_bytes(b"/some\0where\n"),
    "a huge .pth": lambda layer: layer.joinpath("a.pth").write_bytes(b"/x" * 5_000_000),
    "a .pth that is a folder": lambda layer: layer.joinpath("a.pth").mkdir(),
    "a .pth that is a pipe": lambda layer: os.mkfifo(layer / "a.pth"),
    "a .pth that is a broken link": lambda layer: layer.joinpath("a.pth").symlink_to("nowhere"),
    "a .pth that is a link to itself": lambda layer: layer.joinpath("a.pth").symlink_to("a.pth"),
    "a finder whose module is absent": lambda layer: write_finder(layer, None),
    "a finder that raises": lambda layer: write_finder(layer, "raise RuntimeError"),
    "a finder that exits": lambda layer: write_finder(layer, "raise SystemExit(3)"),
    "a finder that is interrupted": lambda layer: write_finder(layer, "raise KeyboardInterrupt"),
    "a finder with a syntax error": lambda layer: write_finder(layer, "def ("),
    # `site` is being imported meanwhile, and Python does not start if it is gone afterwards.
    "a finder that removes site": lambda layer: write_finder(layer, "import sys; del sys.modules['site']"),
}


def write_finder(layer: Path, statement: str | None) -> None:
    """Write an editable install with a finder, whose module consists of one statement or is absent."""
    run = "import __editable___boom_finder; __editable___boom_finder.install()\n"
    layer.joinpath("__editable__.boom-1.pth").write_text(run)
    if statement is not None:
        layer.joinpath("__editable___boom_finder.py").write_text(f"{statement}\n")


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_broken_layer_costs_no_other_layer_its_installs(notebook: Notebook, tmp_path: Path) -> None:
    """`site` does not open this layer, like those below a notebook's own, so only the shim reads its files."""
    starts = {}
    for kind, break_layer in LAYERS.items():
        layer = tmp_path / kind / "site-packages"
        layer.mkdir(parents=True)
        break_layer(layer)
        environ = {"PYTHONPATH": str(layer)}
        command = [notebook.python, "-c", "import testx"]
        imported = start_python(notebook.node, command, notebook.environ | environ)
        starts[kind] = {**start_both(notebook, environ), "import": imported}

    assert starts == {key: {"notebook": SILENT, "runtime": SILENT, "import": SILENT} for key in LAYERS}


HOOK_MODULES = {
    "no class": "",
    "no find_spec": "class WsfsImportHook: pass",
    "find_spec is not a function": "class WsfsImportHook: find_spec = 1",
    "a function, not a class": "def WsfsImportHook(): pass",
    "no finder": "class WsfsImportHook:\n def find_spec(self, fullname, target=None): return 'the original'",
    "a finder without a path": "class WsfsImportHook:\n __finder = 1\n"
    " def find_spec(self, fullname, target=None): return 'the original'",
    "replaces itself": "import sys; sys.modules[__name__] = None",
    "removes itself": "import sys; del sys.modules[__name__]",
}


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.oldest_and_newest
def test_hook_of_unknown_shape_works_as_without_us(notebook: Notebook, tmp_path: Path) -> None:
    """The hook is private and can change in any runtime."""
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
    with_us, without_us = {}, {}
    for shape, source in HOOK_MODULES.items():
        package = tmp_path / shape / "dbruntime"
        package.mkdir(parents=True)
        package.joinpath("__init__.py").write_text("")
        package.joinpath("wsfs_import_hook.py").write_text(source + "\n")
        environ = notebook.environ | {"PYTHONPATH": str(package.parent)}
        with_us[shape] = start_python(notebook.node, [notebook.python, "-c", code], environ)
        without_us[shape] = start_python(notebook.node, [notebook.python, "-c", code], environ | OFF)

    assert with_us == without_us
    assert with_us["no finder"]["stdout"] == "['WsfsImportHook']\nthe original\n"


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
@pytest.mark.one_python
def test_python_3_9_runs_the_shim(installed: Node) -> None:
    """dbx-patch does not support 3.9, but 3.9 starts the file where it shares a layer with a newer Python."""
    pythons = [python for python in candidates("python3.9") if describe(python) is not None]
    if not pythons:
        missing("CPython 3.9")
    layer = installed.layer(installed.runtime)
    code = f"""
import json, sys
sys.path.append({str(layer)!r})
import dbx_patch_sitecustomize as shim
import testx
print(json.dumps({{
    "testx": testx.__file__,
    "started": shim.started,
    "events": sorted({{event[0] for event in shim.journal}}),
}}))
"""
    done = installed.run([pythons[0], "-I", "-c", code], {"LD_LIBRARY_PATH": ""})

    assert json.loads(done.stdout) == {
        "testx": f"{installed.project('testx')}/src/testx/__init__.py",
        "started": True,
        "events": ["root honored"],
    }
