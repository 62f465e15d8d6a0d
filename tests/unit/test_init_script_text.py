"""The text of the cluster init script, which tests/test_init_script.py runs on nodes."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import requires

import pytest
from dbx_patch.installer import render_init_script
from packaging.requirements import Requirement

from dbx_patch._cli import main
from tests.lab.wheels import REPOSITORY

BEGIN, END = "# --- settings ---\n", "# --- end of settings ---\n"
WHEEL = "/Volumes/main/default/libraries/dbx_patch-0.1.0-py3-none-any.whl"
ODD = 'it\'s a "folder" $(touch ran) `touch ran` ; #%20 [x]\\ gr\u00fc\u00dfe\nin two lines'
FROM_ENVIRONMENT = '${DATABRICKS_ROOT_VIRTUALENV_ENV:+"$DATABRICKS_ROOT_VIRTUALENV_ENV/bin/python"}'


def read_settings(script: str) -> tuple[dict[str, str], list[str]]:
    """Return the settings as a shell reads them, and the words after `set --`."""
    assert script.count(BEGIN) == script.count(END) == 1
    words = shlex.split(script.partition(BEGIN)[2].partition(END)[0])
    middle = words.index("set")
    assert words[middle + 1] == "--"
    return dict(word.split("=", 1) for word in words[:middle]), words[middle + 2 :]


def test_version_is_installed_for_the_runtime_s_python() -> None:
    settings, pythons = read_settings(render_init_script("1.2.3"))

    assert settings == {"VERSION": "1.2.3", "PACKAGE": "dbx-patch==1.2.3", "WHEEL": "", "STRICT": ""}
    assert pythons[0] == FROM_ENVIRONMENT.replace('"', "")
    assert pythons[1:] == ["/databricks/python/bin/python", "/databricks/python3/bin/python"]
    assert FROM_ENVIRONMENT in render_init_script("1.2.3")  # quoted, so that the shell does not split it


def test_wheel_decides_the_version() -> None:
    settings, _ = read_settings(render_init_script("9.9", wheel=WHEEL, strict=True))

    assert settings == {"VERSION": "0.1.0", "PACKAGE": f"file://{WHEEL}", "WHEEL": WHEEL, "STRICT": "yes"}


def test_named_python_is_the_only_candidate() -> None:
    _, pythons = read_settings(render_init_script("1.2.3", python="/opt/python"))

    assert pythons == ["/opt/python"]


def test_paths_of_every_kind_are_quoted() -> None:
    wheel = f"/Volumes/{ODD}/dbx_patch-0.1.0-py3-none-any.whl"

    settings, pythons = read_settings(render_init_script("", wheel=wheel, python=f"/{ODD}"))

    assert settings["WHEEL"] == wheel
    assert re.fullmatch(r"file:///Volumes/[\w%./~-]+", settings["PACKAGE"])
    assert pythons == [f"/{ODD}"]


def test_nothing_but_the_settings_differs_from_the_file_in_the_repository() -> None:
    file = (REPOSITORY / "installer/init_script.sh").read_text("utf-8")
    script = render_init_script("", wheel=WHEEL, strict=True)

    def cut(text: str) -> tuple[str, str]:
        return text.partition(BEGIN)[0], text.partition(END)[2]

    assert cut(script) == cut(file)
    assert read_settings(file) == ({"VERSION": "", "PACKAGE": "", "WHEEL": "", "STRICT": ""}, [])
    assert script.startswith("#!/bin/sh\n")
    assert script == render_init_script("", wheel=WHEEL, strict=True)


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
        (["--wheel", "dbx_patch-0.1.0-py3-none-any.whl"], "not an absolute path: dbx_patch-0.1.0-py3-none-any.whl"),
        (["--wheel", "/Volumes/other-0.1.0-py3-none-any.whl"], "not a wheel of dbx-patch: "),
        (["--wheel", "/Volumes/dbx_patch.zip"], "Invalid wheel filename"),
        (["--python", "python3"], "not an absolute path: python3"),
        (["--version", "0.1.0", "--wheel", "/dbx_patch-0.1.0-py3-none-any.whl"], "not allowed with argument --version"),
    ],
)
def test_settings_that_no_node_can_use_are_wrong_usage(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init-script", *options]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


@pytest.mark.parametrize("page", ["docs/install.md"])
def test_commands_of_a_page_print_a_script(page: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = (REPOSITORY / page).read_text("utf-8").splitlines()
    commands = [line for line in lines if line.startswith("dbx-patch init-script ")]

    assert commands
    for command in commands:
        assert main(shlex.split(command.partition(" > ")[0])[1:]) == 0
        assert capfdbinary.readouterr().out.startswith(b"#!/bin/sh\n")
