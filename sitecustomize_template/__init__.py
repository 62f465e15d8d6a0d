"""The start-up shim: the files that the installer writes into site-packages, named as they are named there."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Literal, TypedDict

    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_folders as folders
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_standards as standards

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
        "layer refused",
        "part replaced",
        "part unusable",
        "root available",
        "root honored",
        "root removed",
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
        file: str
        """The file of the finder's module; empty if it is not in the layer."""
        written: int
        """The modification time of that file, in nanoseconds; 0 if there is none."""


__all__ = [
    "LOADER",
    "PARTS",
    "SHIM",
    "STARTUP",
    "find_mount",
    "find_opened_layers",
    "forget_mounts",
    "list_editable_files",
    "list_mounts",
    "list_settled_names",
    "normalize",
    "read_editables",
    "read_pth",
    "template",
]

SHIM = "dbx_patch_sitecustomize.py"
"""The file that every start runs."""
PARTS = ("editables", "standards", "turns", "folders", "cache", "hooks")
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


# What the package and the installer ask of the shim's parts. Each is loaded when it is first asked.


class Part:
    """A part of the shim, as a library: nothing in it starts."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> object:
        return getattr(template.load(self.name), name)


if not TYPE_CHECKING:
    editables, folders, standards = map(Part, ("editables", "folders", "standards"))


def read_editables(layer: str) -> "list[Editable]":
    """Return the lines of a layer's editable installs. Raises OSError if the layer can't be listed."""
    return editables.read_editables(layer)


def read_pth(pth: str) -> "list[str]":
    """Return the lines of a `.pth` file. Raises OSError if it can't be read, and ValueError if it must not be."""
    return editables.read_pth(pth)


def list_settled_names() -> "tuple[str, ...]":
    """Return how a file's name begins that says that an editable install wrote it."""
    return editables.EDITABLE


def list_editable_files(layer: str) -> "list[str]":
    """Return a layer's files that editable installs wrote, by their metadata. Raises OSError if it can't be listed."""
    return standards.list_editable_files(layer)


def normalize(path: str) -> str:
    """Return the one spelling of a workspace path."""
    return editables.normalize(path)


def find_opened_layers() -> "set[str]":
    """Return the folders whose `.pth` files `site` reads."""
    return standards.find_opened_layers()


def find_mount(path: str) -> str:
    """Return the mount that a path is on, by its name; empty for the local disk."""
    return folders.find_mount(path)


def list_mounts() -> "list[tuple[str, str]]":
    """Return where file systems are mounted, each with its kind; nothing where the kernel does not say."""
    return folders.list_mounts()


def forget_mounts() -> None:
    """Have the kernel asked again where file systems are mounted."""
    folders.forget_answers()
