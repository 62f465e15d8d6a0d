"""Builds a node from what `dbx_patch._fingerprint` tells of another: its path, its start-up files, its hooks' modules.

What a fingerprint does not tell, is not there: the functions of the hooks' modules do nothing, and what is redacted has
a name of its own.
"""

from __future__ import annotations

import builtins
import importlib.abc
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.node import Node, Notebook

if TYPE_CHECKING:
    from tests.lab.interpreters import Interpreter

READ = "import json; from dbx_patch._fingerprint import fingerprint; print(json.dumps(fingerprint()))"
"""The code that prints a fingerprint."""
STANDARD = re.compile(r"/usr/lib/python3[.\d]+(\.zip|/lib-dynload)?")
"""The entries of the standard library."""

ROOT_PTH = ("__editable__.*.pth", "_editable_impl_*.pth", "easy-install.pth")
"""The kinds of `.pth` files that hold a root."""
DECORATORS = {"decorated": "@(lambda function: function)"}
VALUES = {
    "NoneType": "None",
    "bool": "False",
    "bytes": "b''",
    "dict": "{}",
    "float": "0.0",
    "frozenset": "frozenset()",
    "int": "0",
    "list": "[]",
    "object": "object()",
    "set": "{None}",
    "str": "''",
    "tuple": "()",
}
"""What stands for a value of each type."""
Placed = tuple[Mapping[str, Any], Path]
"""An entry of a fingerprint's path, and the one on the node."""


@dataclass(frozen=True)
class RebuiltNotebook(Notebook):
    """A notebook, or another process, that was built from a fingerprint."""

    before: tuple[str, ...]
    """What its PYTHONPATH has."""

    @property
    def python_path(self) -> list[str]:
        """The PYTHONPATH of the process that the fingerprint is of."""
        return list(self.before)


def rebuild(found: Mapping[str, Any], root: Path, interpreter: Interpreter, wheelhouse: Path) -> RebuiltNotebook:
    """Build a node from a fingerprint, with this package, and with the shim where the fingerprint's had it."""
    start_files = found["sitecustomize"]["found"]
    foreign = any(file["file"].startswith("/usr/lib/python") and file["lines_of_ours"] != "all" for file in start_files)
    node = Node(root, interpreter, wheelhouse, sitecustomize=foreign).build()
    node.install_dbx_patch()
    loaded = found["sitecustomize"]["loaded"] or {}
    if found["shim"]["live"] or loaded.get("lines_of_ours") in {"all", "some"}:
        done = node.dbx_patch("dbx_patch.install")
        assert done.returncode == 0, done.stderr
    of_a_notebook = "pythonEnv-" in found["python"]["prefix"]
    environment = node.make_notebook().environment if of_a_notebook else node.root / "databricks/python3"
    entries = [entry for entry in found["path"] if (entry["path"] or "").startswith("/")]
    placed = [place(node, environment, entry, at) for at, entry in enumerate(entries)]
    standard = [at for at, entry in enumerate(entries) if STANDARD.fullmatch(entry["path"])]
    below = list(zip(entries, placed, strict=True))[standard[-1] + 1 :]
    if found["shim"]["live"]:
        below = install_roots(below)
    lay_out(node.layer(environment), below)
    for name, hook in found["hooks"].items():
        lay_hook(name, hook, {entry["path"]: path for entry, path in zip(entries, placed, strict=True)})
    return RebuiltNotebook(node, environment, tuple(map(str, placed[: standard[0]])))


def place(node: Node, environment: Path, entry: Mapping[str, Any], at: int) -> Path:
    """Put an entry of the path where it was, as what it was."""
    told = re.sub(r"python3\.\d+", node.version, entry["path"]).replace("pythonEnv-<uuid>", environment.name)
    told = re.sub(r"python3\d+\.zip", node.version.replace(".", "") + ".zip", told)
    path = Path(f"{node.root}{told}".replace("<redacted>", f"redacted{at}"))
    if not path.exists() and entry["kind"] != "absent":
        (path.parent if entry["kind"] == "file" else path).mkdir(parents=True, exist_ok=True)
        if entry["kind"] == "file":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("README", "an archive on the path")
    for kind, count in entry.get("layer", {}).get("pth", {}).items():
        names = [kind] if "*" not in kind else [kind.replace("*", f"redacted{one}") for one in range(count)]
        present = len(list(path.glob(kind))) if kind != "*.pth" else 1  # there it lays out the path
        for name in names[present:]:
            (path / name).touch()
    return path


def install_roots(entries: list[Placed]) -> list[Placed]:
    """Write the roots that the shim has placed behind a layer into that layer's `.pth` files; return what is left."""
    left: list[Placed] = []
    waiting: list[Path] = []
    for entry, path in entries:
        if entry["kind"] == "untouched" and waiting:
            waiting.pop(0).write_text(f"{path}\n")
            continue
        left.append((entry, path))
        if "layer" in entry:
            kinds = [kind for kind in entry["layer"].get("pth", {}) if kind in ROOT_PTH]
            waiting = [pth for kind in kinds for pth in sorted(path.glob(kind))]
    return left


def lay_out(layer: Path, entries: list[Placed]) -> None:
    """Have a layer that `site` opens lay out the entries that come after it, as a notebook's does."""
    if all(entry.get("layer", {}).get("opened_by_site") for entry, _ in entries):
        return
    absent = "import sys; sys.path.append({!r})\n"  # `site` drops a line with a folder that is not there
    lines = [absent.format(str(path)) if entry["kind"] == "absent" else f"{path}\n" for entry, path in entries[1:]]
    layer.joinpath("sites.pth").write_text("".join(lines))


def lay_hook(name: str, hook: Mapping[str, Any], placed: Mapping[str, Path]) -> None:
    """Write a hook's module, where it was."""
    if not hook["origin"]:
        return
    folder = next(path for told, path in placed.items() if hook["origin"].startswith(f"{told}/"))
    *packages, module = name.split(".")
    for package in packages:
        folder /= package
        folder.mkdir(exist_ok=True)
        folder.joinpath("__init__.py").touch()
    unreadable = "\0"
    folder.joinpath(f"{module}.py").write_text(
        unreadable if hook["names"] is None else "\n".join(write_names(hook["names"]))
    )


def write_names(names: Mapping[str, str], above: str = "") -> list[str]:
    """Write the source of a module, or of a class, with these names; the methods do nothing."""
    lines: list[str] = []
    defined: set[str] = set()
    for name, what in names.items():
        if "." in name or what == "attribute":
            continue
        inner = {below.removeprefix(f"{name}."): kind for below, kind in names.items() if below.startswith(f"{name}.")}
        lines += [above + line for line in write_name(name, what, inner, defined)]
        defined.add(name)
        if name == "__init__":
            owner = what.partition("(")[2].partition(",")[0].rstrip(")")
            attributes = [attribute for attribute, kind in names.items() if kind == "attribute"]
            lines += [f"{above}    {owner}.{attribute} = None" for attribute in attributes]
    return lines


def write_name(name: str, what: str, inner: Mapping[str, str], defined: set[str]) -> list[str]:
    """Write what binds a name to what it is said to be."""
    if what.startswith("import "):
        module = what.removeprefix("import ").replace("<other>", "some_other")
        # The first is for who imports it, whatever there is to be imported; the other for who reads it.
        made = f"{name} = type({name!r}, (), {{'__module__': {module!r}}})"
        return [made, "if False:", f"    import {module} as {name}"]
    if what.startswith("class ("):
        bases = [write_base(base, defined) for base in what[7:-1].split(", ") if base]
        return [f"class {name}({', '.join(bases)}):", *write_names(inner, "    "), "    pass"]
    if "def (" in what:
        before, _, parameters = what.partition("def (")
        decorators = [DECORATORS.get(word, f"@{word}") for word in before.split() if word != "async"]
        return [*decorators, f"{'async ' * ('async' in before)}def {name}({parameters}:", "    pass"]
    return ["@property", f"def {name}(self): pass"] if what == "property" else [f"{name} = {VALUES[what]}"]


def write_base(base: str, defined: set[str]) -> str:
    """Write a base class: one of the module's, or of Python's, or an empty one of that name."""
    if base in defined or hasattr(builtins, base):
        return base
    if hasattr(importlib.abc, base):
        return f"__import__('importlib.abc').abc.{base}"
    return f"type({base!r}, (), {{}})"
