"""The start-up wheel as a file: what is in it, and that it is the same each time."""

from __future__ import annotations

import ast
import base64
import csv
import email
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from dbx_patch import __version__
from dbx_patch.installer import InstallerError, write_startup_wheel
from tests.lab.missing import need_root


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_startup_wheel(tmp_path_factory.mktemp("wheel")).path)


def read(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def find(files: dict[str, bytes], end: str) -> bytes:
    """Return the file whose path has this end."""
    (content,) = [content for name, content in files.items() if name.endswith(end)]
    return content


def test_same_input_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    os.utime(Path(sys.modules["dbx_patch"].__path__[0], "_cli.py"))
    again = write_startup_wheel(tmp_path / "a new/folder")

    assert Path(again.path).read_bytes() == wheel.read_bytes()
    assert again.sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert again.sha256 in str(again)
    assert wheel.name in str(again)


def test_command_writes_it(wheel: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dbx_patch", "startup-wheel", "--output", "."]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
    assert f"  /Volumes/CATALOG/SCHEMA/VOLUME/{wheel.name}\n" in done.stdout
    assert json.loads(subprocess.check_output([*words, "--json"], cwd=tmp_path))["path"] == wheel.name


def test_name_and_metadata_are_of_a_version_that_no_index_has(wheel: Path) -> None:
    name, version, _, tags = parse_wheel_filename(wheel.name)
    metadata = email.message_from_bytes(find(read(wheel), ".dist-info/METADATA"))

    assert (name, [str(tag) for tag in tags]) == ("dbx-patch", ["py3-none-any"])
    assert version == Version(f"{__version__}+startup")
    assert (metadata["Name"], Version(metadata["Version"])) == ("dbx-patch", version)
    assert sorted(metadata.get_all("Requires-Dist") or [])[:2] != []


def test_wheel_has_the_command(wheel: Path) -> None:
    """It is what the documentation has people run in an environment that only the wheel brings it to."""
    assert b"\ndbx-patch = dbx_patch" in find(read(wheel), ".dist-info/entry_points.txt")


def test_record_lists_every_file_with_its_digest_and_size(wheel: Path) -> None:
    files = read(wheel)
    rows = list(csv.reader(io.StringIO(find(files, ".dist-info/RECORD").decode())))

    assert [row[0] for row in rows] == list(files)
    for name, digest, size in rows[:-1]:
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={expected}", str(len(files[name])))
    assert rows[-1][1:] == ["", ""]


def test_tools_accept_it(wheel: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", wheel], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_the_whole_package(wheel: Path) -> None:
    names = set(read(wheel))

    for room, folder in (("", "src/dbx_patch"), ("installer/", "installer"), ("sitecustomize_template/",) * 2):
        sources = Path(__file__).parents[2].joinpath(folder.rstrip("/")).rglob("*.py")
        base = Path(__file__).parents[2] / folder.rstrip("/")
        assert {f"dbx_patch/{room}{path.relative_to(base)}" for path in sources} <= names
    assert {"dbx_patch/py.typed", "dbx_patch/installer/init_script.sh"} <= names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_line_that_python_runs_is_one_and_of_any_version(wheel: Path) -> None:
    files = read(wheel)
    (pth,) = [name for name in files if name.endswith(".pth")]
    line = files[pth].decode("ascii")

    assert "/" not in pth
    assert line.count("\n") == 1
    assert line.startswith("import ")
    ast.parse(line, feature_version=(3, 9))
    for name, content in files.items():
        if name.startswith("dbx_patch_startup/"):
            ast.parse(content, feature_version=(3, 9))


def test_folder_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(InstallerError, match=r"(?s)Could not write .*Fix: choose another folder with `--output DIR`\."):
        write_startup_wheel(file)


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    need_root("see the mode of a file of another user")
    before = Path(write_startup_wheel(tmp_path).path)
    before.write_bytes(b"half a wheel")

    after = Path(write_startup_wheel(tmp_path).path)

    assert zipfile.is_zipfile(after)
    assert [path.name for path in tmp_path.iterdir()] == [after.name]
    assert oct(after.stat().st_mode & 0o777) == "0o644"
