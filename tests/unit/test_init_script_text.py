"""The text of the cluster init script, which tests/test_init_script.py runs on nodes."""

from __future__ import annotations

import hashlib
import re
import shlex
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dbx_patch._cli import main
from dbx_patch.installer import NAME_IS_TAKEN, Wheel, render_init_script
from tests.lab.wheels import REPOSITORY

BEGIN, END = "# --- settings ---\n", "# --- end of settings ---\n"
NAME = "dbx_patch-0.2.0-py3-none-any.whl"
SHA256 = "0123456789abcdef" * 4
WHEEL = Wheel(f"/Volumes/main/default/libraries/{NAME}", SHA256)
ODD = 'it\'s a "folder" $(touch ran) `touch ran` ; #%20 [x]\\ gr\u00fc\u00dfe\nin two lines'
FROM_ENVIRONMENT = '${DATABRICKS_ROOT_VIRTUALENV_ENV:+"$DATABRICKS_ROOT_VIRTUALENV_ENV/bin/python"}'


def read_settings(script: str) -> tuple[dict[str, str], list[str]]:
    """Return the settings as a shell reads them, and the words after `set --`."""
    assert script.count(BEGIN) == script.count(END) == 1
    words = shlex.split(script.partition(BEGIN)[2].partition(END)[0], comments=True)
    middle = words.index("set")
    assert words[middle + 1] == "--"
    return dict(word.split("=", 1) for word in words[:middle]), words[middle + 2 :]


def test_version_is_installed_for_the_runtime_s_python() -> None:
    settings, pythons = read_settings(render_init_script("1.2.3"))

    assert settings == {"VERSION": "1.2.3", "PACKAGE": "dbx-patch==1.2.3", "WHEEL": "", "SHA256": "", "STRICT": ""}
    assert pythons[0] == FROM_ENVIRONMENT.replace('"', "")
    assert pythons[1:] == ["/databricks/python/bin/python", "/databricks/python3/bin/python"]
    assert FROM_ENVIRONMENT in render_init_script("1.2.3")  # quoted, so that the shell does not split it


def test_wheel_decides_the_version_and_pip_gets_its_digest() -> None:
    settings, _ = read_settings(render_init_script(wheel=WHEEL, strict=True))

    assert settings == {
        "VERSION": "0.2.0",
        "PACKAGE": f"file://{WHEEL.path}#sha256={SHA256}",
        "WHEEL": WHEEL.path,
        "SHA256": SHA256,
        "STRICT": "yes",
    }


def test_script_for_an_index_says_that_another_project_has_the_name() -> None:
    comments = "".join(f"# {line}\n" for line in NAME_IS_TAKEN.splitlines())

    assert f"{BEGIN}{comments}" in render_init_script("1.2.3")
    assert comments not in render_init_script(wheel=WHEEL)


def test_named_python_is_the_only_candidate() -> None:
    _, pythons = read_settings(render_init_script("1.2.3", python="/opt/python"))

    assert pythons == ["/opt/python"]


def test_paths_of_every_kind_are_quoted() -> None:
    wheel = Wheel(f"/Volumes/{ODD}/{NAME}", SHA256)

    settings, pythons = read_settings(render_init_script(wheel=wheel, python=f"/{ODD}"))

    assert settings["WHEEL"] == wheel.path
    assert re.fullmatch(rf"file:///Volumes/[\w%./~-]+#sha256={SHA256}", settings["PACKAGE"])
    assert pythons == [f"/{ODD}"]


def test_nothing_but_the_settings_differs_from_the_file_in_the_repository() -> None:
    file = (REPOSITORY / "installer/init_script.sh").read_text("utf-8")
    script = render_init_script(wheel=WHEEL, strict=True)

    def cut(text: str) -> tuple[str, str]:
        return text.partition(BEGIN)[0], text.partition(END)[2]

    assert cut(script) == cut(file)
    assert read_settings(file) == (dict.fromkeys(("VERSION", "PACKAGE", "WHEEL", "SHA256", "STRICT"), ""), [])
    assert script.startswith("#!/bin/sh\n")
    assert script == render_init_script(wheel=WHEEL, strict=True)


def test_holds_nothing_of_the_environment_it_was_printed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render_init_script("1.2.3")
    for name in ("PIP_INDEX_URL", "DATABRICKS_TOKEN", "DATABRICKS_ROOT_VIRTUALENV_ENV", "SPARK_USER"):
        monkeypatch.setenv(name, "top-secret")

    assert render_init_script("1.2.3") == before


def test_requirements_are_those_of_the_package() -> None:
    wanted = {Requirement(line) for line in requires("dbx-patch") or () if "extra ==" not in line}
    lines = re.findall(r"is_importable (\w+) \|\| set -- \"\$@\" '(.*)'$", render_init_script("1.2.3"), re.MULTILINE)

    assert {Requirement(requirement) for _, requirement in lines} == wanted
    assert [Requirement(requirement).name for _, requirement in lines] == [module for module, _ in lines]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--version", "1.0; reboot"], "Invalid version: '1.0; reboot'"),
        ([], f"name a wheel with --wheel, or a version with --version\n{NAME_IS_TAKEN}"),
        (["--strict"], "name a wheel with --wheel, or a version with --version\n"),
        (["--wheel", NAME], f"not an absolute path: {NAME}"),
        (["--wheel", "/Volumes/other-0.2.0-py3-none-any.whl"], "not a wheel of dbx-patch: "),
        (["--wheel", f"/nowhere/{NAME}"], f"can't read /nowhere/{NAME} here, or {NAME} in this folder: name the "),
        (["--wheel", f"/nowhere/{NAME}", "--sha256", "abc"], "not a sha256 digest of 64 hexadecimal digits: 'abc'"),
        (["--version", "0.2.0", "--sha256", SHA256], "argument --sha256: is the digest of a wheel, which --wheel has"),
        (["--wheel", "/Volumes/dbx_patch.zip"], "Invalid wheel filename"),
        (["--version", "0.2.0", "--python", "python3"], "not an absolute path: python3"),
        (["--version", "0.2.0", "--wheel", f"/{NAME}"], "not allowed with argument --version"),
    ],
)
def test_settings_that_no_node_can_use_are_wrong_usage(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init-script", *options]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_wheel_s_digest_is_named_or_read_from_the_path_or_from_the_file_of_that_name_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        (folder / NAME).write_bytes(folder.name.encode())
    digests = {folder: hashlib.sha256(folder.name.encode()).hexdigest() for folder in (there, here)}
    monkeypatch.chdir(here)

    def print_script(*options: str) -> tuple[str, str]:
        assert main(["init-script", *options]) == 0
        printed = capsys.readouterr()
        return read_settings(printed.out)[0]["SHA256"], printed.err

    assert print_script("--wheel", str(there / NAME)) == (digests[there], "")
    digest, note = print_script("--wheel", WHEEL.path)
    assert (digest, note.endswith(f" of ./{NAME}: {digest}\n")) == (digests[here], True)
    assert print_script("--wheel", str(there / NAME), "--sha256", SHA256.upper()) == (SHA256, "")


def test_who_asks_for_a_version_is_warned_of_another_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-script", "--version", "0.2.0"]) == 0

    assert capsys.readouterr().err == f"warning: {NAME_IS_TAKEN}\n"


def test_help_says_what_an_init_script_does_to_the_dependency_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-script", "--help"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "a cluster in standard access mode whose dependency mode is Auto uses Environments only if " in text


@pytest.mark.parametrize("page", ["docs/install.md"])
def test_commands_of_a_page_print_a_script(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / NAME).touch()  # as `pip wheel` creates it
    monkeypatch.chdir(tmp_path)
    lines = (REPOSITORY / page).read_text("utf-8").splitlines()
    commands = [line for line in lines if line.startswith("dbx-patch init-script ")]

    assert commands
    for command in commands:
        assert main(shlex.split(command.partition(" > ")[0])[1:]) == 0
        assert capfdbinary.readouterr().out.startswith(b"#!/bin/sh\n")
