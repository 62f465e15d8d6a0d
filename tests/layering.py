"""Finds imports that a room of the repository must not make; the rooms are those of docs/architecture.md.

import-linter does not do it: it can forbid packages by name, but not all that are not on a list, and it sees no import
by a string. An import that only type checkers read is allowed for all packages or for none.
"""

from __future__ import annotations

import ast
import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOR_TYPES = ("_typeshed", "typing_extensions")
"""Modules that only type checkers have: allowed where no Python runs the import."""


@dataclass(frozen=True)
class Room:
    """A folder of the package, and what its files may import besides the standard library and the room itself."""

    folder: str
    package: str
    rooms: tuple[str, ...] = ()
    """Other rooms, by what their `__init__` offers."""
    distributions: tuple[str, ...] = ()


ROOMS = (
    Room("sitecustomize_template", "dbx_patch.sitecustomize_template"),
    Room("installer", "dbx_patch.installer", ("dbx_patch.sitecustomize_template",), ("packaging", "platformdirs")),
    Room("src/dbx_patch", "dbx_patch", ("dbx_patch.installer", "dbx_patch.sitecustomize_template"), ("packaging",)),
)


def find_forbidden_imports(repository: Path) -> list[str]:
    """List the imports that are not on the list of their room, as `file: module`."""
    return [
        f"{file.relative_to(repository)}: {module}"
        for room in ROOMS
        for file in sorted((repository / room.folder).rglob("*.py"))
        for module, for_types in list_imports(
            file.read_text("utf-8"),
            (*room.package.split("."), *file.relative_to(repository / room.folder).parent.parts),
        )
        if not is_allowed(module, room, for_types=for_types)
    ]


def is_allowed(module: str, room: Room, *, for_types: bool) -> bool:
    """Return whether a file of a room may import a module, or a name from it."""
    top = module.partition(".")[0]
    if top != "dbx_patch":
        return top in sys.stdlib_module_names or top in room.distributions or (for_types and top in FOR_TYPES)
    owner = max((each for each in ROOMS if is_within(module, each.package)), key=lambda each: len(each.package))
    if owner == room:
        return True
    names = module.removeprefix(owner.package).split(".")
    return owner.package in room.rooms and not any(name.startswith("_") for name in names)


def is_within(module: str, package: str) -> bool:
    """Return whether a module is a package, or in it."""
    return f"{module}.".startswith(f"{package}.")


@functools.cache
def list_imports(source: str, package: tuple[str, ...] = ()) -> list[tuple[str, bool]]:
    """List what the source of a file in a package imports, each with whether that is for type checkers alone.

    Imports in functions count too. `from a import b` counts as `a.b`, for `b` can be a module.
    """
    tree = ast.parse(source)
    for_types = {below for node in ast.walk(tree) if is_type_checking(node) for below in ast.walk(node)}
    return [(module, node in for_types) for node in ast.walk(tree) for module in list_modules(node, package)]


def list_modules(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """List the modules that an import statement names, or a call of `import_module` or `__import__`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function in {"import_module", "__import__"}:
            return [str(node.args[0].value)]
    return []


def is_type_checking(node: ast.AST) -> bool:
    """Return whether a node is a block that only type checkers read."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
