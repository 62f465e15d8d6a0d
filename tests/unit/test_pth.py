"""How the shim reads `.pth` files: which files, which lines, and what a line means."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch.sitecustomize_template import template as shim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

editables = shim.load("editables")
standards = shim.load("standards")


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


EDITABLE_URL = '{"dir_info": {"editable": true}, "url": "file:///Workspace/p"}'


def write_metadata(layer: Path, record: str | bytes, url: str = EDITABLE_URL, mode: int = 0o644) -> None:
    """Write what a distribution says about its files, and where it was installed from."""
    folder = layer / "p-1.0.dist-info"
    folder.mkdir()
    write(folder / "RECORD", record, mode)
    if url:
        write(folder / "direct_url.json", url)


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
        pytest.param("package", "", id="in the layer"),
        pytest.param("../../p/src", "{above}/p/src", id="relative and upwards"),
        pytest.param("../imports/p", "{parent}/imports/p", id="relative"),
        pytest.param(" /../../p", "{parent}/p", id="white space before it"),
        pytest.param("imports/../../p", "{parent}/p", id="begins with import"),
        pytest.param(" #/../../p", "{parent}/p", id="no comment, because of the blank before it"),
        pytest.param("{layer}", "", id="its layer"),
        pytest.param("/other/dist-packages/", "", id="another layer"),
        pytest.param("/other/site-packages/package", "", id="in another layer"),
        pytest.param("/other/my-site-packages/p", "/other/my-site-packages/p", id="in no layer"),
        pytest.param("# /Workspace/p", "", id="a comment"),
        pytest.param("", "", id="empty"),
        pytest.param("   ", "", id="blanks"),
    ],
)
def test_line_with_a_path_names_a_root(layer: Path, line: str, root: str) -> None:
    pth, line = f"{layer}/p.pth", line.format(layer=layer)

    parsed = editables.parse_line(str(layer), pth, line)

    assert parsed == {
        "layer": str(layer),
        "pth": pth,
        "line": line.rstrip(),
        "root": root.format(parent=layer.parent, above=layer.parent.parent),
        "finder": "",
        "file": "",
        "written": 0,
    }


@pytest.mark.parametrize("suffix", [".zip", ".egg", ".whl"])
@pytest.mark.parametrize("pth", ["_editable_impl_p.pth", "easy-install.pth", "spark.pth"])
def test_line_with_an_archive_names_no_root(layer: Path, pth: str, suffix: str) -> None:
    """Python itself imports from archives. No file system is asked, so the name decides."""
    parsed = editables.parse_line(str(layer), f"{layer}/{pth}", f"/Workspace/py4j-src{suffix}")

    assert (parsed["root"], parsed["finder"]) == ("", "")


@pytest.mark.parametrize(
    ("line", "module"),
    [
        pytest.param("import __editable___p_1_0_finder; __editable___p_1_0_finder.install()", None, id="setuptools"),
        pytest.param("import _editable_impl_p", None, id="hatchling"),
        pytest.param("import _editable_skbc_p", None, id="scikit-build-core"),
        pytest.param("import _p_editable_loader; _p_editable_loader.init()", None, id="meson-python"),
        pytest.param("import\t_editable_impl_p ;", None, id="a tab"),
        pytest.param("import _editable_impl_p.more", "_editable_impl_p", id="a submodule"),
        pytest.param("import _editable_impl_p, os", "_editable_impl_p", id="two modules"),
        pytest.param("import a_backend_that_nobody_knows", None, id="another backend"),
        pytest.param("import 7", "", id="no name"),
        pytest.param("import ;", "", id="nothing"),
    ],
)
@pytest.mark.parametrize("is_package", [False, True], ids=["module", "package"])
def test_import_line_names_a_finder_and_its_file(
    layer: Path,
    line: str,
    module: str | None,
    is_package: bool,  # noqa: FBT001
) -> None:
    if module is None:
        module = line[7:].partition(";")[0].strip()
    file = layer / (f"{module}/__init__.py" if is_package else f"{module}.py")
    if module:
        file.parent.mkdir(exist_ok=True)
        os.utime(write(file, ""), ns=(1, 1_700_000_000_123_456_789))

    parsed = editables.parse_line(str(layer), f"{layer}/p.pth", line)

    assert (parsed["finder"], parsed["line"]) == (module, line.rstrip())
    assert (parsed["file"], parsed["written"]) == ((str(file), 1_700_000_000_123_456_789) if module else ("", 0))
    assert parsed["root"] == ""


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_odd_file_with_the_name_of_a_module_is_refused(layer: Path, make: Callable[[str], None]) -> None:
    make(f"{layer}/_p.py")

    with pytest.raises(ValueError, match="not a regular file"):
        editables.parse_line(str(layer), f"{layer}/_p.pth", "import _p")


@pytest.mark.parametrize("file", ["_p.py", "_p/__init__.py"])
def test_finder_is_refused_where_others_can_write_it(layer: Path, file: str) -> None:
    layer.joinpath("_p").mkdir()
    write(layer / file, "", 0o666)

    with pytest.raises(ValueError, match="world-writable"):
        editables.parse_line(str(layer), f"{layer}/_p.pth", "import _p")


def test_finder_whose_module_is_not_in_the_layer_is_missing(layer: Path, journal: dict[Any, None]) -> None:
    pth = f"{layer}/_editable_impl_elsewhere.pth"

    parsed = editables.parse_line(str(layer), pth, "import _editable_impl_elsewhere")

    assert (parsed["finder"], parsed["root"]) == ("", "")
    assert [event[:2] for event in journal] == [("finder missing", pth)]


def test_finder_of_another_backend_can_be_in_another_layer(layer: Path, journal: dict[Any, None]) -> None:
    """It can be a library that its installs share, or the first import of the line can be another one."""
    parsed = editables.parse_line(str(layer), f"{layer}/p.pth", "import os; import the_finder")

    assert (parsed["finder"], parsed["file"], parsed["written"]) == ("os", "", 0)
    assert list(journal) == []


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


def read(layer: Path) -> list[tuple[str, str]]:
    """Return the root and the finder of each line that the editable installs of a layer have."""
    return [(editable["root"], editable["finder"]) for editable in editables.read_editables(str(layer))]


def test_editable_installs_of_a_layer_are_its_roots_and_finders(layer: Path) -> None:
    write(layer / "_editable_impl_f.py", "")
    files = {
        "_editable_impl_f.pth": "import _editable_impl_f\n/Workspace/f\n",
        "distutils-precedence.pth": "import os; __import__('_distutils_hack')\n",
        "p.pth": "# a comment\n\nimport 7\n/Workspace/p/src\n",
        ".hidden.pth": "/Workspace/hidden\n",
        "inside.pth": "some_package\n",
        "beside.pth": "/other/dist-packages/package\n",
        "sites.pth": f"/Workspace/lost\n{layer}\n/usr/lib/python3/dist-packages\n",
    }
    for name, text in files.items():
        write(layer / name, text)
    write_metadata(layer, "".join(f"{name},sha256=x,9\n" for name in files if name not in {".hidden.pth", "sites.pth"}))

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
    write(layer / "_editable_impl_a.pth", "/Workspace/a\n", 0o666)
    write(layer / "_editable_impl_b.pth", "/Workspace/b\n")

    assert read(layer) == [("/Workspace/b", "")]
    assert [event[:2] for event in journal] == [("file refused", f"{layer}/_editable_impl_a.pth")]


def test_line_of_easy_install_that_names_a_layer_costs_no_other_line(layer: Path) -> None:
    """`setup.py develop` writes the layer of a dependency into it."""
    lines = f"/Workspace/alpha\n/cluster/site-packages\n./package\n{layer}\n/Workspace/beta\n"
    write(layer / "easy-install.pth", lines)

    assert read(layer) == [("/Workspace/alpha", ""), ("/Workspace/beta", "")]


# What is editable


@pytest.mark.parametrize(
    ("text", "root", "finder"),
    [
        pytest.param("/Workspace/p/src\n", "/Workspace/p/src", "", id="a path"),
        pytest.param("import a_hook\n", "", "a_hook", id="a module"),
        pytest.param("import a_package; a_package.install()\n", "", "a_package", id="a package"),
        pytest.param("import a_package.hook\n", "", "a_package", id="a module of a package"),
    ],
)
@pytest.mark.parametrize("row", ["p.pth,sha256=x,9", "p.pth,,", '"p.pth",sha256=x,9', "p.pth"])
def test_file_of_a_backend_that_nobody_knows_is_editable_by_its_metadata(
    layer: Path, text: str, root: str, finder: str, row: str
) -> None:
    """Flit, poetry-core and uv_build write `NAME.pth`; so can a backend that is written tomorrow."""
    write(layer / "p.pth", text)
    write(layer / "a_hook.py", "")
    layer.joinpath("a_package").mkdir()
    write(layer / "a_package/__init__.py", "")
    write_metadata(layer, f"another.py,,\r\n{row}\r\np-1.0.dist-info/RECORD,,\r\n")

    assert read(layer) == [(root, finder)]


def test_name_of_a_file_in_record_can_have_a_comma(layer: Path) -> None:
    write(layer / "p, the project.pth", "/Workspace/p\n")
    write_metadata(layer, '"p, the project.pth",sha256=x,9\n')

    assert read(layer) == [("/Workspace/p", "")]


URLS = {
    "pip": EDITABLE_URL,
    "uv": '{"url":"file:///Workspace/p","dir_info":{"editable":true},"subdirectory":null}',
    "poetry": '{\n  "dir_info": {\n    "editable": true\n  },\n  "url": "file:///.fuse-mounts/wsfs/p"\n}',
}
OTHER_URLS = {
    "none": "",
    "a folder": EDITABLE_URL.replace("true", "false"),
    "an archive": '{"archive_info": {}, "url": "https://example.com/p.whl"}',
    "only in the text of the URL": '{"dir_info": {}, "url": "file:///\\"editable\\":true"}',
    "no JSON": "editable: true",
    "NUL bytes": "\0" + EDITABLE_URL,
}


@pytest.mark.parametrize("writer", URLS)
def test_direct_url_of_an_editable_install_is_known_however_it_is_written(layer: Path, writer: str) -> None:
    write(layer / "p.pth", "/Workspace/p\n")
    write_metadata(layer, "p.pth,,\n", URLS[writer])

    assert read(layer) == [("/Workspace/p", "")]


HAND_WRITTEN: dict[str, Callable[[Path], object]] = {
    "no metadata": lambda _layer: None,
    **{f"direct URL: {case}": partial(write_metadata, record="p.pth,,\n", url=url) for case, url in OTHER_URLS.items()},
    "in no RECORD": lambda layer: write_metadata(layer, "another.pth,,\n"),
    "a longer name": lambda layer: write_metadata(layer, "p.pth.bak,,\np.pthx,,\nxp.pth,,\n"),
    "in a folder": lambda layer: write_metadata(layer, "folder/p.pth,,\n"),
    "no UTF-8": lambda layer: write_metadata(layer, b"p.pth,,\n\xff\n"),
    "RECORD is world-writable": lambda layer: write_metadata(layer, "p.pth,,\n", mode=0o666),
    "dist-info is a file": lambda layer: write(layer / "p-1.0.dist-info", "p.pth,,\n"),
}


@pytest.mark.parametrize("case", HAND_WRITTEN)
@pytest.mark.parametrize("text", ["/Workspace/p\n", "import a_hook\n"])
def test_file_that_no_editable_install_has_written_is_none_of_ours(
    layer: Path, journal: dict[Any, None], text: str, case: str
) -> None:
    """It was written by hand, or by a package that runs code at start."""
    write(layer / "p.pth", text)
    write(layer / "a_hook.py", "")
    HAND_WRITTEN[case](layer)

    assert read(layer) == []
    assert list(journal) == []


def test_metadata_is_read_only_for_files_whose_names_settle_nothing(
    layer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a thousand times as long, and most starts meet no other file."""

    def fail(_layer: str) -> list[str]:
        raise AssertionError

    write(layer / "_editable_impl_f.py", "")
    for name, text in {
        "__editable__.p-1.0.pth": "/Workspace/p\n",
        "_editable_impl_f.pth": "import _editable_impl_f\n/Workspace/f/../f\n",
        "easy-install.pth": "/Workspace/e\n",
        "distutils-precedence.pth": "import os; __import__('_distutils_hack')\n",
        "matplotlib-nspkg.pth": "import sys, types, os; p = 'x'\n",
        "_virtualenv.pth": "import _virtualenv\n",
        "sites.pth": "/usr/lib/python3/dist-packages\n",
        "environment.pth": "import os; os.environ['A'] = '1'\n",
        "comment.pth": "# only a comment\n",
        "empty.pth": "",
    }.items():
        write(layer / name, text)
    monkeypatch.setattr(standards, "list_editable_files", fail)

    assert read(layer) == [
        ("/Workspace/p", ""),
        ("", "_editable_impl_f"),
        ("/Workspace/f", ""),
        ("/Workspace/e", ""),
    ]
