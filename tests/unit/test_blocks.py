"""The block in a `sitecustomize`, and the `.pth` file: written, found in every version's form, and removed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from dbx_patch.installer import is_own, list_shims, remove_every_block
from dbx_patch.installer.shim_files import add_block, list_shims_of_pth, remove_block, write_pth
from dbx_patch.sitecustomize_template import LOADER, template

SHIM = "/databricks/python3/lib/python3.12/site-packages/dbx_patch_sitecustomize.py"
OTHER = "/local_disk0/lib/python3.12/site-packages/dbx_patch_sitecustomize.py"
ODD = "/a'''\"\"\"\n}; raise SystemExit(7) #\\/gr\u00fc\u00dfe/\udcff/shim.py"
TEMPLATE = Path(template.__file__).with_name(LOADER)
BLOCK_OF_0_1_0 = """\
# >>> dbx-patch >>>{note}
# Loads the start-up shim of dbx-patch, which makes editable installs importable on Databricks.
# `python -m dbx_patch.uninstall` removes these lines; to delete them by hand does no harm.
try:
    def _dbx_patch(name="dbx_patch_sitecustomize", path='{shim}'):
        import sys, _frozen_importlib_external as importlib_external
        if name not in sys.modules:
            code = importlib_external.SourceFileLoader(name, path).get_code(name)
            module = sys.modules[name] = type(sys)(name)
            module.__file__ = path
            exec(code, vars(module))
    _dbx_patch()
    del _dbx_patch
except BaseException:  # nothing here may keep Python from starting
    pass
# <<< dbx-patch <<<
"""
CONTENTS = {
    "ends with a newline": b"a = 1\n",
    "no newline at the end": b"a = 1",
    "CRLF": b"a = 1\r\nb = 2\r\n",
    "Latin-1": b"# coding: latin-1\na = '\xe9'\n",
    "empty": b"",
    "byte order mark": b"\xef\xbb\xbfa = 1\n",
    "blanks at the end": b"if True:\n    a = 1\n    ",
    "backslash at the end": b"a = 1; \\",
}
each_content = pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())


@each_content
@pytest.mark.parametrize("shim", [SHIM, ODD], ids=["plain path", "odd path"])
def test_block_is_found_and_removed_without_a_trace(content: bytes, shim: str) -> None:
    extended = add_block(content, shim)

    assert extended.startswith(content)
    assert list_shims(extended) == [shim]
    assert not is_own(extended)
    assert remove_block(extended, shim) == content
    assert remove_every_block(extended) == content


@each_content
def test_block_is_added_once(content: bytes) -> None:
    once = add_block(content, SHIM)

    assert add_block(once, SHIM) == once


@each_content
def test_blocks_of_two_environments_are_independent(content: bytes) -> None:
    both = add_block(add_block(content, SHIM), OTHER)

    assert list_shims(both) == [SHIM, OTHER]
    assert remove_block(both, OTHER) == add_block(content, SHIM)
    first_removed = remove_block(both, SHIM)
    assert first_removed is not None
    assert first_removed.startswith(content)
    assert list_shims(first_removed) == [OTHER]
    assert remove_block(first_removed, OTHER) == content
    assert remove_every_block(both) == content


def test_file_that_the_installer_created_is_known_and_goes_with_its_block() -> None:
    own = add_block(None, SHIM)

    assert is_own(own)
    assert list_shims(own) == [SHIM]
    assert remove_block(own, SHIM) is None
    assert remove_block(own, OTHER) == own


def test_text_that_was_added_to_a_file_of_ours_stays() -> None:
    assert remove_block(add_block(None, SHIM) + b"mine = 1\n", SHIM) == b"mine = 1\n"


@pytest.mark.parametrize("line_ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("content", [b"a = 1\n", b"a = 1"], ids=["newline", "no newline"])
def test_block_of_0_1_0_is_found_and_removed(content: bytes, line_ending: bytes) -> None:
    added = not content.endswith(b"\n")
    note = " (behind a newline that was not there)" if added else ""
    block = BLOCK_OF_0_1_0.format(note=note, shim=SHIM).encode().replace(b"\n", line_ending)
    old = content + line_ending * added + block

    assert list_shims(old) == [SHIM]
    assert add_block(old, SHIM) == old
    assert remove_block(old, OTHER) == old
    assert remove_block(old, SHIM) == content
    assert remove_every_block(old) == content


def test_file_and_pth_file_of_0_1_0_are_found_and_removed() -> None:
    file = BLOCK_OF_0_1_0.format(note=" (the whole file is dbx-patch's)", shim=SHIM)
    begin, *lines, end = file.splitlines()
    code = "\n".join(line for line in lines if not line.startswith("#"))
    pth = "\n".join([begin, *lines[:2], f"import sys; exec({code!a})", end, ""])

    assert is_own(file.encode())
    assert remove_block(file.encode(), SHIM) is None
    assert list_shims_of_pth(pth.encode()) == [SHIM]


def test_edits_around_a_block_stay() -> None:
    edited = b"first = 1\n" + add_block(b"a = 1\n", SHIM) + b"last = 1\n"

    assert remove_block(edited, SHIM) == b"first = 1\na = 1\nlast = 1\n"


def test_text_after_a_block_is_not_joined_to_the_line_before() -> None:
    assert remove_block(add_block(b"a = 1", SHIM) + b"last = 1\n", SHIM) == b"a = 1\nlast = 1\n"


def test_half_a_block_is_left_alone() -> None:
    half = add_block(b"a = 1\n", SHIM).rpartition(b"# <<<")[0]

    assert list_shims(half) == []
    assert remove_every_block(half) == half


@pytest.mark.parametrize("shim", [SHIM, ODD], ids=["plain path", "odd path"])
def test_pth_file_has_one_line_that_python_runs(shim: str) -> None:
    pth = write_pth(shim)

    lines = pth.decode("ascii").splitlines()
    assert [line.partition("import ")[0] for line in lines if not line.startswith("#")] == [""]
    assert list_shims_of_pth(pth) == [shim]
    assert list_shims_of_pth(b"/a/path\n") == []


@pytest.mark.parametrize("kind", ["whole file", "block", ".pth line"])
def test_path_of_any_kind_is_loaded_and_nothing_leaves_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "a'''\"\"\"\n}; raise SystemExit(7) #\\"
    folder.mkdir()
    shim = folder / "shim.py"
    shim.write_text("loaded_from = __file__\nraise SystemExit(8)\n")
    content = {
        "whole file": add_block(None, str(shim)),
        "block": add_block(b"theirs = 1\n", str(shim)),
        ".pth line": write_pth(str(shim)),
    }[kind]
    monkeypatch.delitem(sys.modules, "dbx_patch_sitecustomize", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    namespace: dict[str, object] = {}

    # Line for line, the whole file is the template, and measured as that.
    exec(compile(content, str(TEMPLATE) if kind == "whole file" else "sitecustomize.py", "exec"), namespace)

    module = sys.modules.pop("dbx_patch_sitecustomize")
    assert vars(module)["loaded_from"] == str(shim)


def test_block_is_one_statement_that_any_supported_python_can_parse() -> None:
    for content in (add_block(None, ODD), add_block(b"", ODD), write_pth(ODD)):
        assert content.isascii()
    assert len(ast.parse(add_block(None, ODD), feature_version=(3, 9)).body) == 1
