# This file is a part of dbx-patch's start-up shim: it honors editable installs. `dbx_patch_sitecustomize.py` loads it
# when a layer has a `.pth` or `.start` file, and is its `shim`. The rules at the top of that file hold here as well.

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.machinery import FileFinder
    from typing import Any

    from dbx_patch.sitecustomize_template import Editable
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

PTH_LIMIT = 1 << 20
"""Bytes. The `.pth` file of an editable install has some hundreds."""
NOT_EDITABLE = ("distutils-precedence.pth", "-nspkg.pth")
"""What setuptools names other files of its own. A runtime's layer has some, and reading one costs a start 0.1 %."""
FOLDER_HOOK = "FileFinder.path_hook.<locals>.path_hook_for_FileFinder"
"""The name of Python's own path hook for folders."""
ASK_AGAIN_AFTER = 1.0
"""Seconds before an absent root is asked again: on a workspace mount, each question is a network call."""
LIBRARY = [getattr(sys.modules.get("os"), "__file__", "").rpartition("/")[0]]
LIBRARY += [LIBRARY[0] + "/lib-dynload"]
"""The folders of the standard library."""

roots: "dict[str, str]" = {}
"""Each root of an editable install, as it is on `sys.path`, and the layer that it came from."""
added_roots: "set[str]" = set()
"""The roots that `site` had not put on the path."""
served: "set[str]" = set()
"""All roots, normalized, for which Databricks' hooks answer every caller. Other folders can be added for a while."""
folders: "set[str]" = set()
"""Folders on a mount that our finder searches although they are no roots: packages in roots, and layers."""
files: "dict[str, str]" = {}
"""The `.pth` file of each root."""
honored: "list[Editable]" = []
"""Every line that was found, except those of projects that were installed again from another folder."""


# Editable .pth files


def read_editables(layer: str, names: "list[str] | None" = None) -> "list[Editable]":
    """Return the lines of a layer's editable installs, in the order in which `site` honors lines.

    All other lines are ignored: they are how some package runs code at start. `names` are the layer's `.pth` and
    `.start` files. Raises OSError if the layer can't be listed.
    """
    found: list[Editable] = []
    for name in shim.list_pth(layer) if names is None else names:
        if name[0] == "." or name.endswith(NOT_EDITABLE):
            continue
        if name[-1] == "t":
            found += shim.load("finders").read_start(layer, name)
            continue
        pth = "%s/%s" % (layer.rstrip("/"), name)
        editables: list[Editable] = []
        try:
            for line in filter(None, read_pth(pth)):
                editable = parse_line(layer, pth, line)
                root = editable["root"]
                if "-packages" in root and shim.is_layer(root):
                    break  # this file lays out `sys.path`, as the one in a notebook's layer does
                if editable["finder"] or (root and "/site-packages/" not in root and "/dist-packages/" not in root):
                    editables.append(editable)
            else:
                found += editables
        except OSError as error:
            shim.log("file unreadable", pth, str(error))
        except ValueError as error:
            shim.log("file refused", pth, str(error))
    return found


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
        import os

        if not os.path.islink(path):
            raise
        shim.load("finders").refuse_open_folder(os.path.realpath(path))
        descriptor = posix.open(path, posix.O_NONBLOCK)
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
    """Parse a line as `site` does, but without asking the file system about a path.

    A finder's module is beside its `.pth` file. Raises ValueError if it must not be run.
    """
    imports = line.startswith(("import ", "import\t"))
    line = line.rstrip()
    finder = root = ""
    written = 0
    if imports:
        name = line[7:].partition(";")[0].strip()
        if name[:1] == "_" and name.isidentifier() and shim.load("finders").is_finder(layer, name, pth):
            try:
                written = shim.load("finders").check_module("%s/%s.py" % (layer, name))
                finder = name
            except OSError as error:  # the module is not there, or not yet
                shim.log("finder missing", pth, str(error))
    elif line.startswith("/") and "//" not in line and "/." not in line and line[-1] != "/":
        root = line  # what `abspath` would return, which takes a hundred times as long
    elif line and not line.startswith("#"):
        import os

        root = os.path.abspath(os.path.join(layer, line))
    return {"layer": layer, "pth": pth, "line": line, "root": root, "finder": finder, "written": written}


def honor(changed: "dict[str, list[str]]") -> "dict[str, None]":  # noqa: C901, PLR0912 - a function costs a start 0.05 %
    """Run the finders, and put on `sys.path` the roots that `site` did not, each after its layer.

    `changed` maps each layer that has changed to the names of its `.pth` files. Returns the layers that have to be
    listed again, because an import line in them has failed: its finder's module may be half-written. An install is
    recorded last, and each step can be repeated. So what is interrupted is done by the next call.
    """
    found: list[Editable] = []
    for layer, names in changed.items():
        found += read_editables(layer, names)
    if honored:
        found = shim.load("finders").find_new(found)
    site: Any = sys.modules.get("site")
    # First, because an import line can put anything on `sys.meta_path`, and stop the shim.
    user_site = shim.is_starting() and site.ENABLE_USER_SITE
    if user_site and any([each["finder"] or each["root"] not in sys.path for each in found]):
        shim.watched["usercustomize"] = defer("finders", "find_usercustomize")
    again: dict[str, None] = {}
    done: list[Editable] = []
    new: list[str] = []
    for editable in found:
        root, layer, pth = editable["root"], editable["layer"], editable["pth"]
        if not root:
            continue
        if root in roots:  # keep the highest layer that has it
            highest = next((entry for entry in sys.path if entry in (layer, roots[root])), layer)
            if highest == roots[root] and root in sys.path:
                continue
            if highest != layer:
                layer, pth = highest, files[root]
        roots[root], files[root] = layer, pth
        served.add(normalize(root))
        new.append(root)
    if new:
        shim.run_guarded(guard_roots, new)
    # Between the two: the imports of finders search the roots on the path, and a start must not touch any root. Those
    # that `site` has put there are guarded by now, and the others are not there yet.
    for editable in found:
        outcome = shim.run_guarded(shim.load("finders").honor, editable) if editable["finder"] else "done"
        if outcome == "done":
            done.append(editable)
        elif outcome == "again":
            again[editable["layer"]] = None
    if new:
        place_roots(new)
    honored.extend(done)
    if found:
        shim.forget_answers()
    return again


def place_roots(wanted: "Iterable[str]") -> None:
    """Put roots on `sys.path`, each directly after its layer.

    An editable install then wins over a copy in a lower layer, and loses to a copy above. `site` would append the root
    to the end, after all layers. A root that is already before its layer stays there, and so does one that `site`
    placed for a file that is not an editable install's. Whether a folder exists is not checked: `site` makes that
    check, which causes about half of the reported failures, because a workspace folder is often not readable yet
    (https://github.com/databricks/cli/issues/1619).
    """
    known: list[Any] = sys.path  # other code may put anything on it
    order = list(known)
    by_layer: dict[str, list[str]] = {}
    for root in wanted:
        if root not in order or shim.load("finders").can_move(root, order):
            by_layer.setdefault(roots[root], []).append(root)
    for layer, new in by_layer.items():
        at = len(order)  # for a layer that was taken off the path
        if layer in order:
            # A layer on PYTHONPATH is before the standard library, which no editable install replaces.
            at = 1 + max([order.index(entry) for entry in (layer, *LIBRARY) if entry in order])
        order[at:at] = new
    path: list[Any] = []
    seen: set[str] = set()
    for entry in order:
        # Only spellings of the mount need `normalize`, which costs a start 0.1 % if it is called for each entry.
        if isinstance(entry, str) and (
            (entry.rstrip("/") or entry) in served or ("/.fuse-mounts/" in entry and normalize(entry) in served)
        ):
            normalized = normalize(entry)
            if normalized in seen:
                continue
            seen.add(normalized)
            if entry not in known:
                added_roots.add(entry)
                shim.log("root honored", entry, "after " + roots[entry])
        path.append(entry)
    if path != known:
        known[:] = path  # in place: Spark Connect binds the list early


def normalize(path: str) -> str:
    """Return the one spelling of a workspace path: on some clouds `/Workspace` links to `/.fuse-mounts/wsfs`."""
    if path[-1:] == "/":
        path = path.rstrip("/") or "/"
    return path.replace("/.fuse-mounts/wsfs/", "/Workspace/", 1)


# Imports from roots


def guard_roots(new: "list[str]") -> None:
    """Have roots searched by our finders, and absent roots asked again."""
    if latecomers not in sys.meta_path:
        sys.meta_path.append(latecomers)
    if find_root not in sys.path_hooks:
        # The hook for archives asks whether the path is a file.
        sys.path_hooks.insert(find_path_hook("zipimporter", FOLDER_HOOK), find_root)
    for root in new:
        finder = sys.path_importer_cache.get(root)
        if finder is not None:  # `site` put the root on the path, and an import has searched it
            shim.run_guarded(guard, finder)
        else:  # it may have been absent then, which Python remembers
            sys.path_importer_cache.pop(root, None)


def find_root(path: object) -> "FileFinder":
    """Return the finder of a root: a path hook. Raises ImportError for other paths, or if a part can't be loaded."""
    if not isinstance(path, str) or (path not in folders and normalize(path) not in served):
        raise ImportError("not a root")
    return shim.load("finders").make_root_finder(path)  # type: ignore[no-any-return]


def find_path_hook(*names: str) -> int:
    """Return the index of the first of Python's own path hooks that has one of these names.

    Databricks' hooks are before those, and must stay there.
    """
    for at, hook in enumerate(sys.path_hooks):
        if getattr(hook, "__qualname__", "") in names:
            return at
    raise ImportError("there is no path hook for folders")


def defer(part: str, name: str) -> "Callable[..., Any]":
    """Return a function that calls a part's function, and loads the part at its first call.

    It returns None if the part can't be loaded, because dbx-patch was uninstalled or updated while this process runs:
    imports then behave as without us. The journal has the reason.
    """

    def call(*args: object, **named: object) -> "Any":
        try:
            function = getattr(shim.load(part), name)
        except Exception:
            return None
        return function(*args, **named)

    return call


guard: "Callable[..., object]" = defer("finders", "guard")
"""Makes Python's file finder of a root one of ours. Loaded when a root is first searched: most starts search none."""
latecomers: "Any" = defer("finders", "find_latecomer")
"""The last finder on `sys.meta_path`."""
latecomers.find_spec = latecomers


def stop() -> None:
    """Undo what was done for roots. A root that `site` had placed lower stays where it is."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not latecomers]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if hook is not find_root]
    known: list[Any] = sys.path  # other code may put anything on it
    known[:] = [entry for entry in known if not isinstance(entry, str) or entry not in added_roots]
    for state in (roots, added_roots, served, folders, files, honored):
        state.clear()
