"""How the shim reads `.pth` files: which files, which lines, and what a line means."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch.sitecustomize_template import template as shim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

editables = shim.load("editables")


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> dict[Any, None]:
    """An empty journal for each test."""
    journal: dict[Any, None] = {}
    monkeypatch.setattr(shim, "journal", journal)
    return journal


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """An empty layer."""
    layer = tmp_path / "site-packages"
    layer.mkdir()
    return layer


def write(path: Path, content: str | bytes, mode: int = 0o644) -> Path:
    """Write a file, whatever the umask."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


# Paths


@pytest.mark.parametrize(
    ("entry", "layer"),
    [
        ("/databricks/python/lib/python3.12/site-packages", True),
        ("/usr/lib/python3/dist-packages", True),
        ("/usr/lib/python3/dist-packages//", True),
        ("/databricks/.python_edge_libs", False),
        ("/x/my-site-packages", False),
        ("/x/site-packages/package", False),
        ("site-packages", False),
        ("", False),
        (b"/x/site-packages", False),
        (None, False),
    ],
)
def test_layer_is_known_by_its_name(entry: object, layer: bool) -> None:  # noqa: FBT001
    assert shim.is_layer(entry) is layer


@pytest.mark.parametrize(
    ("path", "normalized"),
    [
        ("/Workspace/Users/me/p/src", "/Workspace/Users/me/p/src"),
        ("/Workspace/Users/me/p/src/", "/Workspace/Users/me/p/src"),
        ("/.fuse-mounts/wsfs/Users/me/p/src", "/Workspace/Users/me/p/src"),
        ("/local/.fuse-mounts/wsfs/a/.fuse-mounts/wsfs/b", "/local/Workspace/a/.fuse-mounts/wsfs/b"),
        ("/.fuse-mounts/wsfs", "/.fuse-mounts/wsfs"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ],
)
def test_workspace_path_has_one_spelling(path: str, normalized: str) -> None:
    assert editables.normalize(path) == normalized


def test_pth_files_are_listed_in_the_order_of_site(layer: Path) -> None:
    for name in ("b.pth", "a.pth", "Z.pth", ".hidden.pth", "line\nbreak.pth", "caf\udce9.pth", ".pth"):
        layer.joinpath(name).touch()
    for name in ("a.PTH", "a.pth.bak", "pth", "a.pth ", "x.pthx", "a.pyc"):
        layer.joinpath(name).touch()

    assert shim.list_pth(str(layer)) == sorted(file.name for file in layer.glob("*") if file.name.endswith(".pth"))
    assert len(shim.list_pth(str(layer))) == 7


def test_layer_without_pth_files_has_none_and_an_absent_layer_raises(layer: Path) -> None:
    layer.joinpath("module.py").touch()

    assert shim.list_pth(str(layer)) == []
    with pytest.raises(FileNotFoundError):
        shim.list_pth(f"{layer}/absent")


# Lines


@pytest.mark.parametrize(
    ("line", "root"),
    [
        pytest.param("/Workspace/p/src", "/Workspace/p/src", id="a path"),
        pytest.param("/Workspace/p/src \t", "/Workspace/p/src", id="white space at the end"),
        pytest.param("/Workspace/with blank", "/Workspace/with blank", id="a blank in it"),
        pytest.param("/Workspace//p/./x/../src/", "/Workspace/p/src", id="not in its shortest form"),
        pytest.param("/Workspace/.hidden/src", "/Workspace/.hidden/src", id="a hidden folder"),
        pytest.param("/", "/", id="the root of the file system"),
        pytest.param("package", "{layer}/package", id="relative"),
        pytest.param("../../p/src", "{above}/p/src", id="relative and upwards"),
        pytest.param(" /Workspace/p", "{layer}/ /Workspace/p", id="white space before it"),
        pytest.param("imports/p", "{layer}/imports/p", id="begins with import"),
        pytest.param(" # none", "{layer}/ # none", id="no comment, because of the blank before it"),
        pytest.param("# /Workspace/p", "", id="a comment"),
        pytest.param("", "", id="empty"),
        pytest.param("   ", "", id="blanks"),
    ],
)
def test_line_with_a_path_names_a_root(layer: Path, line: str, root: str) -> None:
    pth = f"{layer}/p.pth"

    parsed = editables.parse_line(str(layer), pth, line)

    assert parsed == {
        "layer": str(layer),
        "pth": pth,
        "line": line.rstrip(),
        "root": root.format(layer=layer, above=layer.parent.parent),
        "finder": "",
        "written": 0,
    }


@pytest.mark.parametrize(
    ("line", "module"),
    [
        pytest.param("import __editable___p_1_0_finder; __editable___p_1_0_finder.install()", None, id="setuptools"),
        pytest.param("import _editable_impl_p", None, id="hatchling"),
        pytest.param("import _editable_skbc_p", None, id="scikit-build-core"),
        pytest.param("import _p_editable_loader; _p_editable_loader.init()", None, id="meson-python"),
        pytest.param("import\t_editable_impl_p ;", None, id="a tab"),
        pytest.param("import _distutils_hack", "", id="another package's"),
        pytest.param("import _editable_impl_p.more", "", id="a submodule"),
        pytest.param("import _editable_impl_p, os", "", id="two modules"),
        pytest.param("import os; import _editable_impl_p", "", id="not the first statement"),
        pytest.param("import", "", id="no module"),
    ],
)
def test_import_line_names_a_finder_if_a_build_backend_wrote_it(layer: Path, line: str, module: str | None) -> None:
    if module is None:
        module = line[7:].partition(";")[0].strip()
        os.utime(write(layer / f"{module}.py", ""), ns=(1, 1_700_000_000_123_456_789))

    parsed = editables.parse_line(str(layer), f"{layer}/p.pth", line)

    assert (parsed["finder"], parsed["line"]) == (module, line.rstrip())
    assert parsed["written"] == (1_700_000_000_123_456_789 if module else 0)
    # `import` alone is no statement of a `.pth` file, but a folder's name.
    assert parsed["root"] == (f"{layer}/import" if line == "import" else "")


@pytest.mark.parametrize(
    ("name", "text", "is_finder"),
    [
        pytest.param(
            "_p_editable", "import sys\nclass ScikitBuildRedirectingFinder(X):\n", True, id="scikit-build-core"
        ),
        pytest.param("_p", "from editables.redirector import RedirectingFinder as F\n", True, id="editables"),
        pytest.param("_p", "import sys\nclass MesonpyMetaFinder(X):\n", True, id="meson-python"),
        pytest.param("_p", "import sys\nclass _EditableFinder:\n", True, id="setuptools"),
        pytest.param("_p_editable", "print('a name alone is not enough')\n", False, id="another package's"),
        pytest.param("_p", "# ScikitBuildRedirectingFinder\n", False, id="mentions a finder"),
        pytest.param("_p", "#" * 100_000 + "\nclass _EditableFinder:\n", False, id="far down"),
        pytest.param("_p_editable", None, False, id="absent"),
    ],
)
def test_finder_of_an_older_backend_is_known_by_what_is_in_its_module(
    layer: Path,
    journal: dict[Any, None],
    name: str,
    text: str | None,
    is_finder: bool,  # noqa: FBT001
) -> None:
    """scikit-build-core named it `_NAME_editable` before 1.0, and `editables` `_NAME` before 0.3."""
    if text is not None:
        write(layer / f"{name}.py", text)

    parsed = editables.parse_line(str(layer), f"{layer}/{name}.pth", f"import {name}")

    assert parsed["finder"] == (name if is_finder else "")
    assert list(journal) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_odd_file_with_the_name_of_a_module_is_no_finder(layer: Path, make: Callable[[str], None]) -> None:
    make(f"{layer}/_p.py")

    assert editables.parse_line(str(layer), f"{layer}/_p.pth", "import _p")["finder"] == ""


def test_finder_of_an_older_backend_is_refused_where_others_can_write_it(layer: Path) -> None:
    write(layer / "_p.py", "from editables.redirector import RedirectingFinder as F\n", 0o666)

    with pytest.raises(ValueError, match="world-writable"):
        editables.parse_line(str(layer), f"{layer}/_p.pth", "import _p")


def test_finder_whose_module_is_not_in_the_layer_is_missing(layer: Path, journal: dict[Any, None]) -> None:
    pth = f"{layer}/p.pth"

    parsed = editables.parse_line(str(layer), pth, "import _editable_impl_elsewhere")

    assert (parsed["finder"], parsed["root"]) == ("", "")
    assert [event[:2] for event in journal] == [("finder missing", pth)]


# Files


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param("/a\n/b\n", ["/a", "/b", ""], id="LF"),
        pytest.param("/a\r\n/b\r/c", ["/a", "/b", "/c"], id="CRLF and CR"),
        pytest.param("\ufeff/a", ["/a"], id="signature"),
        pytest.param("\ufeff\ufeff/a", ["\ufeff/a"], id="two signatures"),
        pytest.param("/gr\u00fc\u00dfe", ["/gr\u00fc\u00dfe"], id="beyond ASCII"),
        pytest.param("", [""], id="empty"),
    ],
)
def test_file_is_decoded_and_split_as_python_does(layer: Path, content: str, lines: list[str]) -> None:
    read = editables.read_pth(str(write(layer / "p.pth", content)))

    assert list(filter(None, read)) == list(filter(None, lines))


def test_lines_end_where_this_python_ends_them(layer: Path) -> None:
    """`site` splits at every character that ends a line for `str.splitlines`."""
    read = editables.read_pth(str(write(layer / "p.pth", "/a\x0c/b\u2028/c\n")))

    # until 3.12 is dropped: there, `site` splits at fewer characters
    assert read[0] == ("/a" if sys.version_info >= (3, 13) else "/a\x0c/b\u2028/c")


def test_bytes_of_another_encoding_survive(layer: Path) -> None:
    (line,) = editables.read_pth(str(write(layer / "p.pth", b"/caf\xe9")))

    assert os.fsencode(line) == b"/caf\xe9"


def make_open_folder(pth: Path) -> Path:
    """Make a world-writable folder with a file in it."""
    folder = pth.with_name("open")
    folder.mkdir()
    write(folder / "target", "/a\n")
    folder.chmod(0o777)
    return folder


REFUSED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "NUL bytes": ("it has NUL bytes", lambda pth: write(pth, "/a\0b\n")),
    "a folder": ("it is not a regular file", lambda pth: pth.mkdir()),
    "a pipe without a writer": ("it is not a regular file", os.mkfifo),
    "too large": ("at most 1048576 bytes", lambda pth: write(pth, b"/" * (editables.PTH_LIMIT + 1))),
    "world-writable": ("it is world-writable", lambda pth: write(pth, "/a\n", 0o666)),
    "link to a world-writable file": (
        "it is world-writable",
        lambda pth: pth.symlink_to(write(pth.with_name("target"), "/a\n", 0o666)),
    ),
    "link into a world-writable folder": (
        "it is a link into a world-writable folder",
        lambda pth: pth.symlink_to(make_open_folder(pth) / "target"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_must_not_be_read_is_refused(layer: Path, journal: dict[Any, None], case: str) -> None:
    reason, make = REFUSED[case]
    pth = layer / "p.pth"
    make(pth)

    with pytest.raises(ValueError, match=reason):
        editables.read_pth(str(pth))
    assert editables.read_editables(str(layer)) == []
    assert [event[:2] for event in journal] == [("file refused", str(pth))]


def replace_by_link(module: Path, target: Path) -> None:
    module.unlink()
    module.symlink_to(target)


def replace_by_pipe(module: Path) -> None:
    module.unlink()
    os.mkfifo(module)


REFUSED_MODULES: dict[str, Callable[[Path], None]] = {
    "world-writable": lambda module: module.chmod(0o666),
    "link to a world-writable file": lambda module: replace_by_link(module, write(module.with_name("x"), "", 0o666)),
    "link into a world-writable folder": lambda module: replace_by_link(module, make_open_folder(module) / "target"),
    "byte code that is world-writable": lambda module: module.with_name("__pycache__").chmod(0o777),
    "a pipe without a writer": replace_by_pipe,
    "link to a folder": lambda module: replace_by_link(module, module.parent),
}


@pytest.mark.parametrize("case", REFUSED_MODULES)
def test_finder_that_must_not_be_run_is_refused_with_its_file(layer: Path, journal: dict[Any, None], case: str) -> None:
    """By the rule for `.pth` files: both are run."""
    pth = write(layer / "_editable_impl_p.pth", "import _editable_impl_p\n")
    module = write(layer / "_editable_impl_p.py", "")
    (layer / "__pycache__").mkdir(mode=0o755)
    assert [editable["finder"] for editable in editables.read_editables(str(layer))] == ["_editable_impl_p"]

    REFUSED_MODULES[case](module)

    assert editables.read_editables(str(layer)) == []
    assert [event[:2] for event in journal] == [("file refused", str(pth))]


def test_largest_file_that_is_read(layer: Path) -> None:
    text = "#" * (editables.PTH_LIMIT - 3) + "\n/a"

    assert editables.read_pth(str(write(layer / "p.pth", text)))[-1] == "/a"


def test_link_to_a_trusted_file_is_read(layer: Path) -> None:
    layer.joinpath("p.pth").symlink_to(write(layer.with_name("target"), "/a\n"))

    assert editables.read_pth(f"{layer}/p.pth")[0] == "/a"


@pytest.mark.parametrize("target", ["nowhere", "p.pth"])
def test_link_that_leads_nowhere_is_unreadable(layer: Path, journal: dict[Any, None], target: str) -> None:
    pth = layer / "p.pth"
    pth.symlink_to(target)

    with pytest.raises(OSError, match=str(pth)):
        editables.read_pth(str(pth))
    assert editables.read_editables(str(layer)) == []
    assert [event[:2] for event in journal] == [("file unreadable", str(pth))]


# Layers


def test_editable_installs_of_a_layer_are_its_roots_and_finders(layer: Path) -> None:
    write(layer / "_editable_impl_f.py", "")
    for name, text in {
        "_editable_impl_f.pth": "import _editable_impl_f\n/Workspace/f\n",
        "distutils-precedence.pth": "import os; __import__('_distutils_hack')\n",
        "p.pth": "# a comment\n\nimport nothing.of.ours\n/Workspace/p/src\n",
        ".hidden.pth": "/Workspace/hidden\n",
        "inside.pth": "some_package\n",
        "beside.pth": "/other/dist-packages/package\n",
        "sites.pth": f"/Workspace/lost\n{layer}\n/usr/lib/python3/dist-packages\n",
    }.items():
        write(layer / name, text)

    found = editables.read_editables(str(layer))

    assert [(editable["root"], editable["finder"]) for editable in found] == [
        ("", "_editable_impl_f"),
        ("/Workspace/f", ""),
        ("/Workspace/p/src", ""),
    ]
    assert {editable["layer"] for editable in found} == {str(layer)}
    named = editables.read_editables(f"{layer}/", ["p.pth"])
    assert [editable["pth"] for editable in named] == [f"{layer}/p.pth"]


def test_one_file_that_is_refused_costs_no_other_file(layer: Path, journal: dict[Any, None]) -> None:
    write(layer / "a.pth", "/Workspace/a\n", 0o666)
    write(layer / "b.pth", "/Workspace/b\n")

    assert [editable["root"] for editable in editables.read_editables(str(layer))] == ["/Workspace/b"]
    assert [event[:2] for event in journal] == [("file refused", f"{layer}/a.pth")]


def test_same_project_is_known_by_its_file_whatever_its_version(layer: Path) -> None:
    finders = shim.load("finders")

    def identify(name: str, root: str) -> tuple[tuple[str, str], str]:
        editable = editables.parse_line(str(layer), f"{layer}/{name}.pth", root)
        return finders.identify(editable)  # type: ignore[no-any-return]

    assert identify("__editable__.p-1.0", "/a") == ((str(layer), "p"), "/a")
    assert identify("__editable__.p-2.0", "/b") == ((str(layer), "p"), "/b")
    assert identify("_editable_impl_p", "/a") == ((str(layer), "_editable_impl_p"), "/a")
    assert identify("easy-install", "/a") == ((str(layer), "/a"), "/a")  # one file for several projects
