# This file is a part of dbx-patch's start-up shim: it owns the roots of editable installs. `dbx_patch_sitecustomize.py`
# loads it when a layer has a `.pth` or `.start` file, and is its `shim`. The rules at the top of that file hold here as
# well. What a start does not need is in `*_standards.py` and `*_folders.py`.

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.machinery import FileFinder
    from typing import Any

    from dbx_patch.sitecustomize_template import Editable
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

PTH_LIMIT = 1 << 20
"""Bytes. The `.pth` file of an editable install has some hundreds."""
EDITABLE = "__editable__.", "_editable_", "easy-install.pth"
"""How the names of editable installs' files begin, where the backend says so: setuptools, hatchling, pdm-backend and
scikit-build-core. Any other file is looked up in the metadata, which takes a thousand times as long."""
NOT_EDITABLE = "distutils-precedence.pth", "-nspkg.pth", "_virtualenv.pth"
"""What setuptools and virtualenv name files of their own. A runtime's layer has some."""

installs: "dict[str, list[Editable]]" = {}
"""The lines of editable installs in each layer that has some."""
roots: "dict[str, str]" = {}
"""Each root of an editable install that has been placed, as it is on `sys.path`, and the layer that it came from; in
the order in which they are placed."""
added_roots: "set[str]" = set()
"""The roots that `site` had not put on the path."""
served: "set[str]" = set()
"""All roots, normalized. Other folders can be added for a while."""
found: "set[str]" = set()
"""The folders and files, normalized, that the finders of editable installs have answered with."""
mount_layers: "set[str]" = set()
"""The layers on a mount: they are listed when an import reaches them."""
generation = 0
"""How often installs were honored."""


# What the files of a layer say


def read_editables(layer: str, names: "list[str] | None" = None) -> "list[Editable]":  # noqa: C901
    """Return the lines of a layer's editable installs, in the order in which `site` honors lines.

    All other lines are ignored: they are how some package runs code at start. `names` are the layer's `.pth` and
    `.start` files. Raises OSError if the layer can't be listed.
    """
    editables: list[Editable] = []
    for name in shim.list_pth(layer) if names is None else names:
        if name.endswith(NOT_EDITABLE):
            continue
        pth = "%s/%s" % (layer.rstrip("/"), name)
        try:
            lines = read_pth(pth)
            if not name.startswith(EDITABLE) or name[-1] != "h":
                for line in lines:
                    # A file with layers lays out `sys.path`, as the one in a notebook's layer does.
                    if shim.is_layer(line):
                        break
                    # Most import lines are about the standard library alone.
                    if line and (line.count("import") != 1 or line[7:].partition(";")[0] not in shim.NOT_INSTALLED):
                        editables += shim.load("standards").read_other(layer, pth, lines)
                        break
                continue
            for line in lines:
                if line:
                    editable = parse_line(layer, pth, line)
                    if editable["root"] or editable["finder"]:
                        editables.append(editable)
        except OSError as error:
            shim.log("file unreadable", pth, str(error))
        except ValueError as error:
            shim.log("file refused", pth, str(error))
    return editables


def read_pth(pth: str) -> "list[str]":
    """Return the lines of a `.pth` file, decoded as Python decodes them. Raises what `read_file` does."""
    data = read_file(pth)
    try:
        text = data[3 if data.startswith(b"\xef\xbb\xbf") else 0 :].decode()
    except UnicodeDecodeError:
        import os

        text = os.fsdecode(data)  # the locale's encoding, as `site` uses it; undecodable bytes of a path survive
    if sys.hexversion >= 0x30D0000:  # until 3.12 is dropped: there, `site` splits at fewer characters
        lines = text.splitlines()
        # until 3.14 is dropped: there, `site` does not strip the lines
        return [*map(str.strip, lines)] if sys.hexversion >= 0x30F0000 else lines
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")


def read_file(path: str) -> bytes:
    """Read a small file of an install.

    Raises OSError if the file can't be read. Raises ValueError if it must not be: it is world-writable, a link to or
    into something world-writable, or not a regular text file. A named pipe is opened without waiting for a writer.
    """
    try:
        descriptor = posix.open(path, posix.O_NONBLOCK | posix.O_NOFOLLOW)
    except OSError:
        descriptor = shim.load("standards").open_link(path)
    try:
        # fstat, not stat: the descriptor names the file that is read, whatever the path names by now.
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > PTH_LIMIT:
            raise ValueError("it is not a regular file of at most %d bytes" % PTH_LIMIT)
        if status.st_mode & 0o002:
            raise ValueError("it is world-writable")
        data = posix.read(descriptor, status.st_size + 1)
    finally:
        posix.close(descriptor)
    if b"\0" in data or len(data) != status.st_size:
        raise ValueError("it has NUL bytes" if b"\0" in data else "it changed while it was read")
    return data


def parse_line(layer: str, pth: str, line: str) -> "Editable":
    """Parse a line as `site` does, but without asking a file system about the folder of a path.

    Raises ValueError if what the line imports must not be run.
    """
    root = line.rstrip()
    editable: Editable = {
        "layer": layer,
        "pth": pth,
        "line": root,
        "root": root,
        "finder": "",
        "file": "",
        "written": 0,
    }
    # What `abspath` would return, which takes a hundred times as long.
    is_plain = root[:1] == "/" and "//" not in root and "/." not in root and root[-1] != "/"
    if not is_plain or "-packages" in root or root[-4:-3] == "." or pth.endswith("/easy-install.pth"):
        shim.load("standards").parse_other(editable, line)
    return editable


# Honoring what they say


def honor(changed: "dict[str, list[str]]") -> "dict[str, None]":  # noqa: C901 - a function costs a start 0.05 %
    """Honor what the files of layers say now: run the lines of new finders, and place roots.

    `changed` maps each layer that has changed to the names of its `.pth` files. Returns the layers that have to be
    listed again, because an import line in them has failed: its finder's module may be half-written. An install is
    recorded last, and each step can be repeated. So what is interrupted is done by the next call.
    """
    global generation, roots
    now = {**installs}
    for layer in changed:
        now[layer] = read_editables(layer, changed[layer])
    wanted: dict[str, str] = {}
    lines: list[Editable] = []
    layers: list[Any] = list(sys.path)
    for layer in layers:
        for editable in now.get(layer, ()) if isinstance(layer, str) else ():
            root = editable["root"]
            if not root:
                lines.append(editable)
            elif root not in wanted or (roots.get(root) == layer and wanted[root] not in changed):
                wanted[root] = layer  # the highest; a root stays where it is if only the path has changed
    if roots.keys() - wanted.keys():
        shim.load("folders").forget(roots.keys() - wanted.keys())
    new = [root for root in wanted if roots.get(root) != wanted[root]]
    if new:
        # First, because an import line can put anything on `sys.meta_path`, and stop the shim.
        if shim.is_starting() and sys.modules["site"].ENABLE_USER_SITE:
            shim.watched["usercustomize"] = shim.load("folders").find_usercustomize
        serve(new)
    # Between the two: the imports of finders search the roots on the path, and a start must not touch any root. Those
    # that `site` has put there are served by now, and the others are not there yet.
    again: dict[str, None] = {}
    if lines or "turns" in shim.loaded:
        again = shim.load("turns").honor(lines)
    if new:
        place_roots(wanted, new)
    roots = wanted  # in the order of the path; at once, because other threads read it
    is_new = now != installs
    installs.update(now)
    if new or is_new:
        generation += 1
        shim.forget_answers()
    return again


def place_roots(wanted: "dict[str, str]", new: "Collection[str]") -> None:
    """Put roots on `sys.path`, each directly after its layer: those that are new, and the others of their layers.

    An editable install then wins over a copy in a lower layer, and loses to a copy above. `site` would append the root
    to the end, after all layers. A root that other code has put before its layer stays there. Whether a folder exists
    is not checked: `site` makes that check, which causes about half of the reported failures, because a workspace
    folder is often not readable yet (https://github.com/databricks/cli/issues/1619).
    """
    known: list[Any] = sys.path  # other code may put anything on it
    path = list(known)
    before: dict[str, str] = {}
    for root, layer in wanted.items():
        if layer not in path or (root not in new and root not in path):
            continue
        is_added = True
        for spelling in (root, normalize(root), root.replace("/Workspace/", "/.fuse-mounts/wsfs/", 1)):
            while spelling in path:
                at = path.index(spelling)
                is_added = False
                if at < path.index(layer) and roots.get(root, layer) == layer:
                    break
                del path[at]
            else:
                continue
            break
        else:
            path.insert(path.index(before.get(layer, layer)) + 1, root)
            before[layer] = root
            if is_added:
                added_roots.add(root)
                shim.log("root honored", root, "after " + layer)
    if path != known:
        known[:] = path  # in place: Spark Connect binds the list early


def normalize(path: object) -> str:
    """Return the one spelling of a workspace path: on some clouds `/Workspace` links to `/.fuse-mounts/wsfs`.

    Return the empty string for what is no path.
    """
    if not isinstance(path, str):
        return ""
    if path[-1:] == "/":
        path = path.rstrip("/") or "/"
    return path.replace("/.fuse-mounts/wsfs/", "/Workspace/", 1) if "/.fuse" in path else path


# Imports from roots


def serve(new: "Collection[str]") -> None:
    """Have our finders search folders: Python's own never asks a folder again that was absent.

    Our path hook comes first: Databricks' refuse library code, and the one for archives asks the root.
    """
    served.update(map(normalize, new))
    if sys.path_hooks[:1] != [find_root]:
        if find_root in sys.path_hooks:
            sys.path_hooks.remove(find_root)
        sys.path_hooks.insert(0, find_root)
    for root in new:
        sys.path_importer_cache.pop(root, None)


def find_root(path: object) -> "FileFinder":
    """Return the finder of a root, or of a folder on a mount in an editable package: a path hook.

    Raises ImportError for other paths, or if a part can't be loaded.
    """
    if path in mount_layers or is_editable(path):
        return shim.load("folders").make_finder(path)  # type: ignore[no-any-return]
    raise ImportError("not of an editable install")


def is_editable(path: object) -> bool:
    """Return whether a file or folder belongs to an editable install: by whole components of its path."""
    place = normalize(path)
    while place and place not in served and place not in found:
        place = place.rpartition("/")[0]
    return place != ""


def stop() -> None:
    """Undo what was done for roots. A root that `site` had placed lower stays where it is."""
    if find_root in sys.path_hooks:
        sys.path_hooks.remove(find_root)
    for root in (*roots, *mount_layers):
        sys.path_importer_cache.pop(root, None)
        while root in added_roots and root in sys.path:
            sys.path.remove(root)
    for state in (installs, roots, added_roots, served, found, mount_layers):
        state.clear()
