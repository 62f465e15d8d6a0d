"""The shim's files: the same arguments give the same bytes, which equal the source but for stamp and annotations."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dbx_patch.installer.shim_files import (
    fill,
    find_parts,
    is_shim_file,
    list_parts,
    read_stamp,
    render,
    strip,
)
from dbx_patch.sitecustomize_template import PARTS, SHIM, template

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path("/databricks/python3/lib/python3.12/site-packages")
SOURCES = Path(template.__file__).parent


def render_here() -> dict[Path, bytes]:
    return render(FOLDER / SHIM)


def test_same_arguments_give_the_same_files() -> None:
    assert render_here() == render_here()
    assert [*render_here()][-1] == FOLDER / SHIM  # the one that loads the others is written last
    names = [re.sub("_[0-9a-f]{8}.py", "_BUILD.py", file.name) for file in render_here()]
    assert names == [*(f"dbx_patch_sitecustomize_{part}_BUILD.py" for part in PARTS), SHIM]


def test_parts_have_another_name_if_any_of_them_differs(change_a_part: Callable[[], None]) -> None:
    """So the files of two builds are side by side. The shim has the ending of the names of its own parts."""
    first = render_here()
    change_a_part()
    second = render_here()

    assert first.keys() & second.keys() == {FOLDER / SHIM}
    for files in (first, second):
        *parts, shim = files
        build = f"_{parts[0].stem.rpartition('_')[2]}"
        assert f"\nBUILD = '{build}'\n".encode() in files[shim]
        assert parts == list_parts(shim, build)


class WithoutTypes(ast.NodeTransformer):
    """Removes what the installer removes."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.Assign:  # the name is ast's
        assert node.value is not None
        return ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)

    def visit_If(self, node: ast.If) -> ast.AST | None:  # likewise
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # likewise
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_ClassDef(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:  # likewise
        if len(node.body) > 1 and ast.get_docstring(node) is not None:
            del node.body[0]
        return self.generic_visit(node)


def test_only_the_stamp_types_and_docstrings_differ_from_the_source() -> None:
    for file, content in render_here().items():
        source = SOURCES.joinpath(re.sub("_[0-9a-f]{8}.py", ".py", file.name)).read_text("utf-8")
        bare = WithoutTypes().visit(ast.parse(source))

        stripped = strip(source)

        assert "->" not in ast.unparse(ast.parse(stripped))
        assert ast.dump(ast.parse(stripped)) == ast.dump(bare), file.name
        lines = difflib.unified_diff(stripped.splitlines(), content.decode().splitlines(), "", "", "", "", 0, "")
        changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        names = {line[1:].partition(" = ")[0] for line in changed}
        assert names <= {"VERSION", "BUILD", "DIGEST"}, file.name
        assert "DIGEST" in names
        assert len(content.splitlines()) == len(source.splitlines())  # a traceback's line is the source's


def test_stamp_names_the_version() -> None:
    stamp = read_stamp(render_here()[FOLDER / SHIM])

    assert stamp is not None
    assert stamp.version == template.VERSION
    assert not stamp.edited


def test_every_edit_by_hand_is_noticed() -> None:
    for content in render_here().values():
        for edited in (content + b"# mine\n", content.replace(b"VERSION = ", b"VERSION = 1 + ")):
            stamp = read_stamp(edited)
            assert edited == content or (stamp is not None and stamp.edited)


def test_file_of_another_version_is_read_and_not_taken_for_edited() -> None:
    source = SOURCES.joinpath(SHIM).read_text("utf-8")

    stamp = read_stamp(fill(source, {"VERSION": "99.0"}))

    assert stamp is not None
    assert (stamp.version, stamp.edited) == ("99.0", False)


@pytest.mark.parametrize("content", [None, b"", b"x = 1\n", b"\xff\xfe", b"# a comment\nVERSION = '1'\n"])
def test_file_that_is_not_ours_has_no_stamp(content: bytes | None) -> None:
    assert read_stamp(content) is None
    assert not is_shim_file(content)


def test_broken_file_of_ours_is_still_ours() -> None:
    first_line = render_here()[FOLDER / SHIM].partition(b"\n")[0]

    assert is_shim_file(first_line + b"\nVERSION = (\ndef (\n")


def test_parts_of_every_build_are_found(tmp_path: Path) -> None:
    names = [f"dbx_patch_sitecustomize_{end}.py" for end in ("editables", "editables_0123abcd", "later_0123abcd")]
    for name in (SHIM, "sitecustomize.py", *names):
        (tmp_path / name).touch()

    assert [file.name for file in find_parts(tmp_path / SHIM)] == names


def test_parts_are_beside_the_shim() -> None:
    assert [part.name for part in list_parts(FOLDER / SHIM)] == [f"dbx_patch_sitecustomize_{name}.py" for name in PARTS]
