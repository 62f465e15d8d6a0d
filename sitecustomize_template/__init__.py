"""The start-up shim: the files that the installer writes into site-packages, named as they are named there."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Literal, TypedDict

    Find = Callable[[str, "Sequence[str] | None", "ModuleType | None"], "ModuleSpec | None"]
    """The `find_spec` of a finder on `sys.meta_path`."""

    EventKind = Literal[
        "cache unusable",
        "file refused",
        "file unreadable",
        "finder failed",
        "finder honored",
        "finder missing",
        "hook incompatible",
        "hook patched",
        "import failed",
        "import line failed",
        "install kept",
        "layer refused",
        "part replaced",
        "part unusable",
        "root available",
        "root honored",
        "root unavailable",
        "shim started",
        "step failed",
    ]
    """What the shim's journal can report. The doctor matches these; the text of an event is for people."""

    Event = tuple[EventKind, str, str]
    """An entry of the journal: its kind, its subject (a file, folder, module or function), and a text for people."""

    class Editable(TypedDict):
        """A line of a `.pth` file that an editable install wrote: it names a root, or imports a finder's module."""

        layer: str
        pth: str
        line: str
        root: str
        finder: str
        written: int
        """The modification time of the finder's file, in nanoseconds; 0 if there is none."""


__all__ = ["LOADER", "PARTS", "SHIM", "STARTUP", "template"]

SHIM = "dbx_patch_sitecustomize.py"
"""The file that every start runs."""
PARTS = ("editables", "finders", "mounts", "cache", "hooks")
"""The files that it loads when they are needed: `dbx_patch_sitecustomize_<part>.py`."""
STARTUP = "dbx_patch_startup"
"""The package of the start-up wheel that has the shim; a `.pth` file of the wheel imports it."""
LOADER = "sitecustomize.py"
"""The file that loads the shim: the whole `sitecustomize.py`, or the block at the end of a foreign one."""


def read_constants() -> "ModuleType":
    """Return the shim's constants without running it, for Windows, where init scripts and wheels are written too."""
    import ast  # noqa: PLC0415  # not needed where the shim can run
    from contextlib import suppress  # noqa: PLC0415  # likewise

    constants = type(ast)("constants")
    constants.__file__ = __path__[0] + "/" + SHIM
    with open(constants.__file__, encoding="utf-8") as file:
        statements = ast.parse(file.read()).body
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            with suppress(ValueError):  # not a literal
                setattr(constants, statement.targets[0].id, ast.literal_eval(statement.value))
    return constants


try:
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as template
except ImportError:  # there is no `posix`
    template = read_constants()
