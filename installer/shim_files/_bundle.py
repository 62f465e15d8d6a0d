"""Render the whole shim as one file, for images that are built elsewhere."""

from __future__ import annotations

import io
import symtable
import tokenize

from dbx_patch.installer.shim_files._block import END, RENDERED
from dbx_patch.installer.shim_files._stamp import TEMPLATE, fill, list_parts, strip
from dbx_patch.sitecustomize_template import PARTS, template

BUNDLE = """\
{begin}
# The whole start-up shim of dbx-patch {version}: use it as `sitecustomize.py`, or append it to an existing one.
# `python -m dbx_patch.uninstall` removes these lines. You can also delete them by hand.
try:
    def _dbx_patch(_dbx_patch_name={name!r}):
{functions}
        import sys as _dbx_patch_sys
        if _dbx_patch_name not in _dbx_patch_sys.modules:
            _dbx_patch_module = _dbx_patch_sys.modules[_dbx_patch_name] = type(_dbx_patch_sys)(_dbx_patch_name)
            _dbx_patch_module.__file__ = __file__
            _dbx_patch_module.embedded = {{{embedded}}}
            exec(_dbx_patch_shim.__code__, vars(_dbx_patch_module))
    _dbx_patch()
    del _dbx_patch
except BaseException:  # a SystemExit that leaves a start-up file would end the interpreter
    pass
{end}
"""


def render_bundle() -> bytes:
    """Return the shim's files as one, which every supported Python runs. Equal files give equal bytes."""
    sources = dict(zip(("shim", *PARTS), (TEMPLATE, *list_parts(TEMPLATE)), strict=True))
    stamp = {"VERSION": template.VERSION, "GENERATED_FOR": "an image"}
    functions = [
        make_function(f"_dbx_patch_{name}", fill(strip(file.read_text("utf-8")), stamp).decode())
        for name, file in sources.items()
    ]
    bundle = BUNDLE.format(
        begin=RENDERED,
        end=END,
        version=template.VERSION,
        name=template.LIVE_NAME,
        functions=indent("\n".join(functions), 8),
        embedded=", ".join(f'"{part}": _dbx_patch_{part}.__code__' for part in PARTS),
    )
    return bundle.encode("ascii")  # valid in a file of any encoding


def make_function(name: str, source: str) -> str:
    """Return a module's source as a function. Its code, run in a namespace, sets the module's names there.

    The source has no annotations: a function can't annotate a variable that it declares global.

    Python compiles a function with the file around it and caches both. A string would be compiled at every start.
    """
    symbols = symtable.symtable(source, name, "exec").get_symbols()
    names = sorted(symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported())
    return f"def {name}():\n    global {', '.join(names)}\n{indent(source, 4)}"


def indent(source: str, spaces: int) -> str:
    """Return code indented by some spaces. Lines inside a string stay as they are."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    inside = {
        line
        for token in tokens
        if token.type == tokenize.STRING
        for line in range(token.start[0] + 1, token.end[0] + 1)
    }
    lines = source.splitlines(keepends=True)
    return "".join(
        line if number in inside or not line.strip() else " " * spaces + line for number, line in enumerate(lines, 1)
    )
