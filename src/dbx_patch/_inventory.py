"""Lists the editable installs that this interpreter can see, and what prevents the import of each."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_string
from html import escape
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dbx_patch import _html
from dbx_patch._finders import find_spec, list_paths
from dbx_patch._mounts import (
    ask_mounts,
    begin_asking,
    describe,
    find_mount,
    find_state,
    hangs,
    is_file,
    is_folder,
    list_folder,
    resolve,
)
from dbx_patch.sitecustomize_template import list_settled_names, normalize, read_editables, read_pth, template

if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable

SHARED = ("/Workspace/", "/Volumes/", "/dbfs/", "/local_disk0/.ephemeral_nfs/")
"""Folders that executors can read as well. All others are on the driver only."""
WITHOUT_LINKS = ("/Workspace/", "/Volumes/", "/dbfs/")
"""Mounts that support no symbolic or hard links."""
NOT_SENT = "/.fuse-mounts/"
"""Where `/Workspace` links to on some clouds. Databricks' code does not send these paths to executors."""
TAKEN = frozenset({"databricks", "dbruntime", "dlt", "py4j", "pyspark", "scripts", "tests"})
"""Top-level names that Databricks uses itself. A package named `scripts` once stopped every job of a cluster."""

# until 3.14 is dropped: there, `.start` files are unknown
STARTUP_FILES = (".pth", ".start") if sys.version_info >= (3, 15) else (".pth",)
"""The names of the files that install something editable end with these."""

Style = Literal["path", "finder", "link tree"]
"""How an install makes its project importable: a folder on the path, a finder, or a folder of links to its files."""

Caveat = Literal["name taken", "executors lack its finder", "path not sent", "driver only", "links missing"]
"""Why an install may fail elsewhere, even if it works in this process."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """Another copy of what an editable install offers: one that is imported instead, or one that the install hides."""

    path: str
    """The file of the module, or the folder of the package."""
    layer: str | None
    """The layer that it is in; None if it is in none."""


@dataclass(frozen=True, slots=True)
class EditableInstall:
    """An editable install in one of the layers on `sys.path`."""

    name: str
    """The project's name, normalized (:pep:`503`)."""
    version: str | None
    """Its version, normalized (:pep:`440`); None if its metadata has none."""
    project: str | None
    """The project's folder; None if it can't be found out."""
    layer: str
    """The site- or dist-packages folder that it was installed into."""
    pth: str
    """Its `.pth` file in that folder."""
    style: Style
    names: tuple[str, ...]
    """The top-level names that it offers."""
    importable: bool
    """Whether this process imports every one of these names from it."""
    shadowed_by: Shadow | None
    """What this process imports instead, for the first name that it does not import from the install."""
    hides: tuple[Shadow, ...]
    """The copies in lower layers that are not imported because the install comes first."""
    unreadable: tuple[str, ...]
    """Each root that can't be read, or is on a mount that does not answer, with the reason."""
    warnings: tuple[str, ...]
    """What may fail elsewhere, even if it works in this process."""

    def __str__(self) -> str:
        state = "importable" if self.importable else "not importable"
        if self.shadowed_by:
            state = f"shadowed by {self.shadowed_by.path}"
        lines = [f"{self.name} {self.version or ''}".rstrip() + f" ({self.style}): {state}"]
        lines += [
            f"  {what}: {value}" for what, value in (("project", self.project), ("installed by", self.pth)) if value
        ]
        lines += [f"  hides: {copy.path}" for copy in self.hides]
        lines += [f"  unreadable: {root}" for root in self.unreadable]
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        """Return it as a table for a notebook."""
        return _html.page(draw_installs((self,)))


class EditableInstalls(tuple[EditableInstall, ...]):  # noqa: SLOT001  # a tuple can have no slot for `refused`
    """A tuple of editable installs that a notebook shows as a table."""

    refused: tuple[str, ...] = ()
    """The `.pth` files that are not read, each with the reason: what they install is not known."""

    def __str__(self) -> str:
        if not self and not self.refused:
            return "There are no editable installs in the layers on sys.path."
        return "\n".join([*map(str, self), *(f"not read: {file}" for file in self.refused)])

    def _repr_html_(self) -> str:
        """Return it as a table for a notebook."""
        return _html.page(self.draw())

    def draw(self) -> str:
        """Return it as HTML."""
        if not self and not self.refused:
            return f"<p>{self}</p>"
        refused = "".join(f"<p>{_html.mark(_html.FAILED, 'not read:')} {_html.code(file)}</p>" for file in self.refused)
        return draw_installs(self) + refused


def draw_installs(installs: tuple[EditableInstall, ...]) -> str:
    """Return editable installs as a table."""
    rows = []
    for install in installs:
        notes = [f"imported instead: {install.shadowed_by.path}"] if install.shadowed_by else []
        notes += [f"hides: {copy.path}" for copy in install.hides]
        notes += [*(f"unreadable: {root}" for root in install.unreadable), *install.warnings]
        rows.append(
            (
                _html.mark(_html.PASSED if install.importable else _html.FAILED),
                escape(f"{install.name} {install.version or ''}".rstrip()),
                _html.code(", ".join(install.names)),
                _html.code(install.project or ""),
                f"{escape(install.style)}<br><small>{escape(install.pth)}</small>",
                "<br>".join(map(escape, notes)),
            )
        )
    return _html.table(("", "project", "imports", "folder", "installed as", "notes"), rows)


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether this process imports what is installed editable."""

    ok: bool
    """Whether every editable install is importable in this process, and every `.pth` file was read."""
    installs: EditableInstalls

    def __str__(self) -> str:
        return str(self.installs)

    def _repr_html_(self) -> str:
        """Return it as a table for a notebook."""
        return _html.page(self.installs.draw())


def editable_installs() -> EditableInstalls:
    """List the editable installs of every layer on `sys.path`, in its order.

    Nothing is imported. Finders are asked what they would find; meson-python's rebuilds its project when it is asked.
    Each mount that an install is on is asked first whether it answers. If it does not, nothing on it is touched.
    """
    begin_asking()
    installs = EditableInstalls(list_installs())
    installs.refused = tuple(f"{file}: {error}" for file, error in find_refused())
    return installs


def verify_editable_installs() -> Verification:
    """Return for each editable install whether it is imported, what shadows it, and where else it would fail.

    What is on a mount that does not answer counts as not importable. A `.pth` file that is not read, because any user
    could change it or because it is no text, may be an editable install's, so it counts as one that is not importable.
    """
    installs = editable_installs()
    return Verification(all(install.importable for install in installs) and not installs.refused, installs)


def list_installs() -> tuple[EditableInstall, ...]:
    """List the editable installs, after all mounts were asked that they or entries of `sys.path` are on."""
    ask_mounts(list_entries())
    found = [(layer, pth, editables) for layer in find_layers() for pth, editables in group_by_project(layer)]
    ask_mounts(folder for _, _, editables in found for folder in list_places(editables))
    return tuple(describe_install(*each) for each in found)


def list_entries() -> list[str]:
    """Return the strings on `sys.path`; other code may put anything on it."""
    entries: list[object] = [*sys.path]
    return [entry for entry in entries if isinstance(entry, str)]


def list_places(editables: Iterable[Editable]) -> Iterator[str]:
    """List the folders and files that an editable install offers modules from: its roots, and those of its finders."""
    for editable in editables:
        if editable["root"]:
            yield editable["root"]
        if editable["file"]:
            yield from list_paths(Path(editable["file"]))


def group_by_project(layer: str) -> Iterator[tuple[Path, list[Editable]]]:
    """List the `.pth` files of a layer, each with the lines of one project; `easy-install.pth` may have several.

    A project can have a `.start` file of the same name, or only that one.
    """
    if hangs(layer):
        return
    try:
        found = read_editables(layer)
    except OSError:
        return
    groups: dict[tuple[str, str], list[Editable]] = {}
    for editable in found:
        several = Path(editable["pth"]).name == "easy-install.pth"
        stem = editable["pth"].rpartition(".")[0]
        groups.setdefault((stem, editable["root"] if several else ""), []).append(editable)
    for editables in groups.values():
        yield Path(editables[0]["pth"]), editables


def find_refused(name: str = "") -> Iterator[tuple[str, OSError | ValueError]]:
    """List the `.pth` and `.start` files that are not read, each with the error; those with a name like `name` first.

    The shim reads no file that other users could change.
    """
    for layer in filter(is_folder, find_layers()):
        files = [file for file in list_folder(layer) if file.endswith(STARTUP_FILES)]
        for file in sorted(files, key=lambda file: name not in file.replace("-", "_")):
            path = str(Path(layer, file))
            try:
                read_pth(path)
            except (OSError, ValueError) as error:
                yield path, error


def describe_install(layer: str, pth: Path, editables: list[Editable]) -> EditableInstall:
    """Return what is known about one editable install."""
    distribution = find_distribution(layer, pth, editables)
    roots = [editable["root"] for editable in editables if editable["root"]]
    finders = [Path(editable["file"]) for editable in editables if editable["file"]]
    style: Style = "finder" if any(editable["finder"] for editable in editables) else "path"
    if any(Path(root).name.startswith("__editable__.") for root in roots):
        style = "link tree"
    project = find_project(distribution, roots)
    names = find_names(distribution, roots, finders)
    inside = [folder for folder in [project, *roots] if folder]
    waits = [folder for folder in (*inside, *list_places(editables)) if hangs(folder)]
    elsewhere = (
        [] if waits else [found for found in map(locate, names) if not any(is_inside(place, inside) for place in found)]
    )
    # If its folder is gone, the folder of a namespace package is that of another project.
    is_gone = not all(map(is_folder, inside))
    shadow = next((found[0] for found in elsewhere if found and not (is_gone and is_folder(found[0]))), None)
    return EditableInstall(
        name=find_name(distribution, pth, roots),
        version=find_version(distribution),
        project=project,
        layer=layer,
        pth=str(pth),
        style=style,
        names=names,
        importable=bool(names) and not elsewhere and not waits,
        shadowed_by=Shadow(shadow, find_layer(shadow)) if shadow else None,
        hides=() if elsewhere or waits else tuple(find_copies(layer, names)),
        unreadable=tuple(find_unreadable(roots or waits[:1] or inside)),
        warnings=tuple(text for _, text in find_warnings(style, project, names, roots)),
    )


def find_distribution(layer: str, pth: Path, editables: list[Editable]) -> metadata.Distribution | None:
    """Find the distribution of an editable install.

    Its RECORD has the `.pth` file. Where that has been lost, the folder that pip recorded has its modules. For
    `setup.py develop`, its `.egg-link` has the root.
    """
    installed = [each for each in metadata.distributions(path=[layer]) if read(each, "direct_url.json")]
    for distribution in installed:
        if pth.name in [line.partition(",")[0] for line in read(distribution, "RECORD").splitlines()]:
            return distribution
    folders = list(list_places(editables))
    for distribution in installed:
        project = find_recorded(distribution)
        if project and any(f"{folder}/".startswith(f"{project}/") for folder in folders):
            return distribution
    for editable in editables:
        for link in Path(layer).glob("*.egg-link"):
            if link.read_bytes().splitlines()[:1] == [editable["root"].encode()] and not hangs(editable["root"]):
                return next(iter(metadata.distributions(path=[editable["root"]])), None)
    return None


def read(distribution: metadata.Distribution | None, file: str) -> str:
    """Return a file of a distribution's metadata; empty if it is missing or unreadable."""
    try:
        return (distribution and distribution.read_text(file)) or ""
    except (OSError, ValueError):
        return ""


def read_header(distribution: metadata.Distribution | None, name: str) -> str:
    """Return a header of a distribution's core metadata; empty if there is none."""
    return str(message_from_string(read(distribution, "METADATA") or read(distribution, "PKG-INFO"))[name] or "")


def find_project(distribution: metadata.Distribution | None, roots: list[str]) -> str | None:
    """Find the project's folder: the one that pip recorded (:pep:`610`), or the nearest one with build metadata."""
    recorded = find_recorded(distribution)
    if recorded:
        return recorded
    for root in roots:
        for folder in (Path(root), *Path(root).parents[:2]):
            if any(is_file(f"{folder}/{file}") for file in ("pyproject.toml", "setup.py", "setup.cfg")):
                return str(folder)
    return roots[0] if roots else None


def find_recorded(distribution: metadata.Distribution | None) -> str:
    """Return the project's folder that pip recorded; empty if it did not."""
    try:
        return unquote(urlsplit(str(json.loads(read(distribution, "direct_url.json"))["url"])).path).rstrip("/")
    except (KeyError, TypeError, ValueError):
        return ""


def find_name(distribution: metadata.Distribution | None, pth: Path, roots: list[str]) -> str:
    """Return a project's name: from its metadata, or else from its `.pth` file, or its folder in `easy-install.pth`."""
    stem = Path(roots[0]).name if pth.name == "easy-install.pth" and roots else pth.stem
    begin = next((begin for begin in list_settled_names() if stem.startswith(begin)), "")
    return canonicalize_name(read_header(distribution, "Name") or stem.removeprefix(begin).strip("_.-") or stem)


def find_version(distribution: metadata.Distribution | None) -> str | None:
    """Return a project's version, normalized if it is a valid one."""
    version = read_header(distribution, "Version")
    try:
        return str(Version(version))
    except InvalidVersion:
        return version or None


def find_names(distribution: metadata.Distribution | None, roots: list[str], finders: list[Path]) -> tuple[str, ...]:
    """List the top-level names that an install offers: from `top_level.txt`, or else from its finder or its roots."""
    listed = read(distribution, "top_level.txt").split()
    names = set(listed) or {name for finder in finders for name in names_in_finder(finder)}
    return tuple(sorted(names or {name for root in roots for name in names_in_root(Path(root))}))


def names_in_root(root: Path) -> Iterator[str]:
    """List the modules and packages in a folder; if it has none, the folders that may be namespace packages."""
    entries = list_folder(str(root))
    suffixes = (".py", *EXTENSION_SUFFIXES)
    modules = {entry.partition(".")[0] for entry in entries if entry.endswith(suffixes)} - {"setup", "conftest"}
    packages = {entry for entry in entries if is_file(f"{root}/{entry}/__init__.py")}
    namespaces = {entry for entry in entries if is_folder(f"{root}/{entry}") and entry != "__pycache__"}
    yield from (name for name in sorted(modules | packages or namespaces) if name.isidentifier())


def names_in_finder(file: Path) -> set[str]:
    """List the names that a finder's module is written for, without running it. Each build backend has another API.

    setuptools assigns a dict to MAPPING, `editables` is called with a name, scikit-build-core calls `install` with
    dicts, and meson-python makes its finder with a set.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "MAPPING" for target in targets):
                found |= strings_in(node.value)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "map_module":
                found |= strings_in(node.args[0])
            elif called in {"install", "MesonpyMetaFinder"}:
                found |= {
                    name for part in node.args if isinstance(part, (ast.Dict, ast.Set)) for name in strings_in(part)
                }
    return {name.partition(".")[0] for name in found}


def strings_in(node: ast.expr | None) -> set[str]:
    """List the strings in a literal; of a dict, its keys."""
    parts: Iterable[ast.expr | None] = [node]
    if isinstance(node, ast.Dict):
        parts = node.keys
    elif isinstance(node, (ast.Set, ast.List, ast.Tuple)):
        parts = node.elts
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def locate(name: str) -> list[str]:
    """List where a top-level name is imported from, or was: a file, or the folders of a namespace package.

    A finder can name folders of a project that was moved away. They are listed only if none is there.
    """
    loaded = sys.modules.get(name)
    try:
        spec = find_spec(name)
    except Exception:  # noqa: BLE001  # what a finder raises ends an import as well
        spec = None
    if spec is not None and spec.has_location and spec.origin:
        return [spec.origin]
    folders = [*((spec and spec.submodule_search_locations) or filter(None, [getattr(loaded, "__file__", None)]))]
    return list(filter(is_folder, folders)) or folders


def is_inside(location: str, folders: list[str]) -> bool:
    """Return whether a location is in one of some folders, in either spelling of the workspace mount."""
    return any(
        Path(normalize(location)).is_relative_to(normalize(folder)) or resolve(location).is_relative_to(folder)
        for folder in folders
    )


def find_layers() -> list[str]:
    """List the site- and dist-packages folders on `sys.path`, in its order."""
    return list(filter(template.is_layer, sys.path))


def find_layer(location: str) -> str | None:
    """Find the layer that a file is in."""
    return next((layer for layer in find_layers() if Path(location).is_relative_to(layer)), None)


def find_copies(layer: str, names: tuple[str, ...]) -> Iterator[Shadow]:
    """List the copies of some names in the layers below."""
    layers = find_layers()
    for below in layers[layers.index(layer) + 1 :]:
        for name in names if not hangs(below) else ():
            try:
                spec = PathFinder.find_spec(name, [below])
            except OSError:  # a mount's
                continue
            if spec is not None:
                folders = list(spec.submodule_search_locations or [])
                yield Shadow(folders[0] if folders else str(spec.origin), below)


def find_unreadable(roots: list[str]) -> Iterator[str]:
    """List the roots that can't be read, with the reason; the workspace mount has errors of its own."""
    for root in roots:
        if find_state(root) != "answers":
            yield f"{root}: {describe(find_mount(root), find_state(root))}"
            continue
        try:
            os.listdir(root)  # noqa: PTH208  # pathlib's `iterdir` makes other calls
        except OSError as error:
            yield f"{root}: {error.strerror}"


def find_warnings(
    style: Style, project: str | None, names: tuple[str, ...], roots: Iterable[str] = ()
) -> Iterator[tuple[Caveat, str]]:
    """List what may fail elsewhere, even if it works in this process: a word, and a text for people."""
    folder = f"{normalize(project)}/" if project else ""
    for name in sorted(TAKEN.intersection(names)):
        text = f"Databricks uses the top-level name {name} itself; rename yours, or one hides the other"
        yield "name taken", text
    if style == "finder":
        text = "its finder is not sent to executors with a function; a folder on the path is"
        yield "executors lack its finder", text
    for root in (root for root in roots if root.startswith(NOT_SENT)):
        text = f"{root} is not sent to executors, which get only paths below /Workspace; with the shim on every node, "
        yield "path not sent", f"{text}they can import it"
    if project and not folder.startswith(SHARED):
        text = f"{project} is on the driver only, so executors can't import it; move it below /Workspace or /Volumes"
        yield "driver only", text
    if style == "link tree" and folder.startswith(WITHOUT_LINKS):
        text = (
            f"{project} is on a mount without links, which its link tree needs; install it without editable_mode=strict"
        )
        yield "links missing", text
