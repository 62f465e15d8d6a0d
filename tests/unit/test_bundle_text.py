"""The whole shim as one file, as text; tests/test_bundle.py runs it."""

from __future__ import annotations

import ast

from dbx_patch.installer import render_bundle
from dbx_patch.sitecustomize_template import PARTS


def test_any_python_and_any_file_can_hold_it() -> None:
    bundle = render_bundle()

    tree = ast.parse(bundle, feature_version=(3, 9))
    assert [type(statement) for statement in tree.body] == [ast.Try]  # one statement, which catches everything
    assert bundle.isascii()  # the encoding of the file that it is appended to doesn't matter
    assert bundle == render_bundle()


def test_parts_are_compiled_with_it() -> None:
    """Their byte code is then cached with the file's."""
    code = compile(render_bundle(), "sitecustomize.py", "exec")
    (function,) = [constant for constant in code.co_consts if hasattr(constant, "co_name")]

    names = {constant.co_name for constant in function.co_consts if hasattr(constant, "co_name")}
    assert names == {f"_dbx_patch_{part}" for part in ("shim", *PARTS)}
