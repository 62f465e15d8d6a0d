# This file is a part of dbx-patch's start-up shim: it finds out what is editable where a file's name does not show it,
# by the standards, and whose files are trusted. `dbx_patch_sitecustomize.py` loads it for such a file, or for a line
# that imports a finder, and is its `shim`. The rules at the top of that file hold here as well.

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dbx_patch.sitecustomize_template import Editable
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim
    from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize_editables as editables

# --- stamp ---
DIGEST = ""
# --- end of stamp ---

if not TYPE_CHECKING:
    editables = shim.load("editables")


ARCHIVES = ".zip", ".egg", ".whl"
"""How the names of archives end. A start asks no file system about them."""


def find_opened_layers() -> "set[str]":
    """Return the folders whose `.pth` files `site` reads. Other layers are on `sys.path` as plain entries."""
    site: Any = sys.modules.get("site")
    if site is None:  # python -S
        return set()
    return {*site.getsitepackages(), site.USER_SITE if site.ENABLE_USER_SITE else ""}


# What is editable


def read_other(layer: str, pth: str, lines: "list[str]") -> "list[Editable]":
    """Return the lines of a file whose name does not show that an editable install wrote it, if one did.

    Raises OSError if the layer can't be listed, and ValueError if what a line imports must not be run.
    """
    name = pth.rpartition("/")[2]
    parsed = [
        editables.parse_line(layer, pth, line) for line in (read_start(lines) if name[-1] == "t" else lines) if line
    ]
    found = [editable for editable in parsed if editable["root"] or editable["finder"]]
    if found and (name.startswith(editables.EDITABLE) or name in list_editable_files(layer)):
        return found
    return []


def list_editable_files(layer: str) -> "list[str]":
    """Return the files at the top of a layer that editable installs have written, by their metadata.

    The RECORD of a distribution lists its files, and its `direct_url.json` says that it is editable (:pep:`610`).
    Raises OSError if the layer can't be listed.
    """
    found: list[str] = []
    for name in posix.listdir(layer):
        if name.endswith(".dist-info"):
            folder = "%s/%s" % (layer.rstrip("/"), name)
            url = folder + "/direct_url.json"
            try:
                # Most distributions have no such file, and an exception takes ten times as long.
                if posix.access(url, posix.F_OK) and is_editable_url(editables.read_file(url)):
                    for line in editables.read_file(folder + "/RECORD").decode().splitlines():
                        file = line[1:].partition('",')[0] if line[:1] == '"' else line.partition(",")[0]
                        if "/" not in file:
                            found.append(file)
            except (OSError, ValueError):  # it is being changed, or must not be read
                pass
    return found


def is_editable_url(data: bytes) -> bool:
    """Return whether a `direct_url.json` is that of an editable install.

    `json` would cost a start more than all of this. JSON's strings have no unescaped quotes, so what is found is a key.
    """
    return b'"editable":true' in b"".join(data.split())


def is_file(path: str) -> bool:
    """Return whether a path names a file, for example an archive. A mount is not asked."""
    if path.startswith(shim.MOUNTS):
        return False
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o100000
    except (OSError, ValueError):
        return False


# Lines


def parse_other(editable: "Editable", line: str) -> None:
    """Parse a line that is no plain absolute path.

    Neither a layer nor an archive is a root: `site` or another package has put them there. Raises ValueError if what
    the line imports must not be run.
    """
    import os

    text, editable["root"] = editable["root"], ""
    if line.startswith(("import ", "import\t")):
        parse_import(editable)
    elif text and not line.startswith("#"):
        root = os.path.abspath(os.path.join(editable["layer"], text))
        inside = (root + "/").replace("/dist-", "/site-")
        if "/site-packages/" not in inside and not root.endswith(ARCHIVES):
            editable["root"] = root


def read_start(lines: "list[str]") -> "list[str]":
    """Return the lines of a `.start` file (:pep:`829`), each as the import line that does the same."""
    found: list[str] = []
    for line in lines:
        module, _, function = line.partition(":")
        if module.isidentifier() and function.isidentifier():
            found.append("import %s; %s.%s()" % (module, module, function))
    return found


def parse_import(editable: "Editable") -> None:
    """Fill in the module that an import line imports, and if its layer has that, the file and when it was written.

    The line of a `.pth` file counts for nothing if there is a `.start` file of the same name, as for `site`. Raises
    ValueError if the module must not be run.
    """
    layer, pth = editable["layer"].rstrip("/"), editable["pth"]
    words = editable["line"][7:].replace(";", " ").replace(",", " ").replace(".", " ").split()
    if not words or not words[0].isidentifier():
        return
    # until 3.14 is dropped: there, `.start` files are unknown
    if sys.hexversion >= 0x30F0000 and pth.endswith(".pth") and posix.access(pth[:-3] + "start", posix.F_OK):
        return
    file = "%s/%s.py" % (layer, words[0])
    if not posix.access(file, posix.F_OK):
        file = "%s/%s/__init__.py" % (layer, words[0])
    try:
        editable["written"] = check_module(file)
        editable["file"] = file
    except OSError as error:  # it is in another layer, or not there, or not yet
        if pth.rpartition("/")[2].startswith(editables.EDITABLE):
            if words[0] not in shim.NOT_INSTALLED:  # before setuptools 31, `easy-install.pth` had two lines about `sys`
                shim.log("finder missing", pth, str(error))
            return
    editable["finder"] = words[0]


# Who is trusted


def open_link(path: str) -> int:
    """Open a link to a small file. Raises OSError if it is none or can't be opened, ValueError if it must not be."""
    import os

    if os.path.islink(path):
        refuse_open_folder(os.path.realpath(path))
    return posix.open(path, posix.O_NONBLOCK | (0 if os.path.islink(path) else posix.O_NOFOLLOW))


def check_module(module: str) -> int:
    """Return when a finder's module was written. Raises OSError if it is not there, ValueError if it must not be run.

    The rule is that for `.pth` files. It holds for the folder of its byte code too, which Python runs instead.
    """
    status = posix.lstat(module)
    if status.st_mode & 0o170000 == 0o120000:
        import os

        refuse_open_folder(os.path.realpath(module))
        status = posix.stat(module)
    if status.st_mode & 0o170000 != 0o100000:  # to open a named pipe would wait for a writer
        raise ValueError("its finder %s is not a regular file" % module)
    if status.st_mode & 0o002:
        raise ValueError("its finder %s is world-writable" % module)
    cache = module.rpartition("/")[0] + "/__pycache__"
    try:
        is_open = posix.stat(cache).st_mode & 0o002
    except OSError:  # there is none
        return status.st_mtime_ns
    if is_open:
        raise ValueError("the byte code of its finder in %s is world-writable" % cache)
    return status.st_mtime_ns


def refuse_open_folder(file: str) -> None:
    """Raise ValueError if the folder of a file that a link leads to is world-writable."""
    if posix.stat(file.rpartition("/")[0]).st_mode & 0o002:
        raise ValueError("it is a link into a world-writable folder")
