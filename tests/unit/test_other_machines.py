"""What you do on your own machine works on Windows and macOS: ask for help, write init scripts and wheels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path, PurePath, PureWindowsPath
from typing import cast

import pytest

import dbx_patch
from dbx_patch import __version__, installer
from dbx_patch._cli import main, make_parser
from dbx_patch.installer.shim_files import render
from dbx_patch.sitecustomize_template import SHIM, read_constants, template

COMMANDS = make_parser("dbx-patch")[1]
WRITES_FILES = ("startup-wheel", "init-script")
"""The commands that run on every machine."""
NAME = f"dbx_patch-{__version__}-py3-none-any.whl"
INIT_SCRIPT = ("init-script", "--wheel", f"/Volumes/main/default/libraries/{NAME}")
ABSENT_FROM_OS = """
O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK ST_RDONLY chown chroot fchdir fchmod fchown fork getegid geteuid getgid
getgroups getpgid getsid getuid getxattr initgroups killpg lchown listxattr mkfifo nice posix_spawn pread pwrite
register_at_fork removexattr setegid seteuid setgid setsid setuid setxattr statvfs sync sysconf uname wait wait3 wait4
"""
ABSENT = {
    "win32": (
        "_posixsubprocess fcntl grp posix pty pwd readline resource syslog termios",
        ABSENT_FROM_OS,
        "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGSTOP SIGUSR1 alarm pause sigwait",
        "POLLIN epoll poll",
    ),
    "darwin": ("_winapi msvcrt nt winreg", "getxattr listxattr removexattr setxattr", "", "epoll"),
}
"""What a machine lacks: modules, and names in the modules `os`, `signal` and `select`."""
MACHINE = """\
import builtins, os, select, signal, sys
machine, modules, *names, code = sys.argv[1:7]
del sys.argv[1:7]
import_module = builtins.__import__

def refuse(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in modules.split() and importer.startswith("dbx_patch"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return import_module(name, globals, locals, fromlist, level)

# The standard library has other code for each machine: what it does here, it does with the names of this machine.
import argparse, difflib, dis, importlib.metadata, inspect, json, pathlib, platform, subprocess, tempfile, zipfile
for module, absent in zip((os, signal, select), names):
    for name in absent.split():
        delattr(module, name) if hasattr(module, name) else None
builtins.__import__, sys.platform = refuse, machine
exec(code)
"""
ASK_FOR_HELP = """\
public = [getattr(dbx_patch, name) for name in dbx_patch.__all__]
from dbx_patch._cli import main
print([main(words.split()) for words in sys.argv[1:]])
"""
RUN_COMMAND = "from dbx_patch._cli import main; sys.exit(main(prog='dbx-patch'))"

on_other_machines = pytest.mark.parametrize("machine", ABSENT)


def run(machine: str, code: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run code in an interpreter that has nothing of what a machine lacks."""
    command = [sys.executable, "-c", MACHINE, machine, *ABSENT[machine], code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)


@on_other_machines
def test_package_is_imported_and_help_is_printed(machine: str) -> None:
    """Nothing but its name, and then what the command line and every public name need."""
    words = ["--help", "--version", *(f"{command} --help" for command in COMMANDS)]

    done = run(machine, f"import dbx_patch; {ASK_FOR_HELP}", *words)

    assert done.stderr == b""
    assert done.stdout.endswith(f"{[0] * len(words)}\n".encode())


@on_other_machines
def test_init_script_is_that_of_linux(machine: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"a wheel")
    wheel = installer.Wheel(INIT_SCRIPT[-1], hashlib.sha256(b"a wheel").hexdigest())

    done = run(machine, RUN_COMMAND, *INIT_SCRIPT, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == installer.render_init_script(wheel=wheel).encode()
    assert f"\nWHEEL={INIT_SCRIPT[-1]}\n".encode() in done.stdout


@on_other_machines
def test_startup_wheel_has_the_bytes_of_linux(machine: str, tmp_path: Path) -> None:
    expected = Path(installer.write_startup_wheel(tmp_path / "linux").path)

    twice = f"from dbx_patch._cli import main; main(sys.argv[1:]); {RUN_COMMAND}"  # the second one replaces the first
    done = run(machine, twice, "startup-wheel", "--output", str(tmp_path))

    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / expected.name).read_bytes() == expected.read_bytes()


def test_paths_in_the_startup_wheel_are_those_of_linux() -> None:
    of_linux = render(Path("dbx_patch_startup", SHIM))
    of_windows = render(cast("Path", PureWindowsPath("dbx_patch_startup", SHIM)))

    assert [path.as_posix() for path in of_windows] == [path.as_posix() for path in of_linux]
    assert list(of_windows.values()) == list(of_linux.values())


def test_constants_that_are_read_are_those_of_the_shim() -> None:
    constants = {name: value for name, value in vars(read_constants()).items() if not name.startswith("__")}

    assert {name: getattr(template, name) for name in constants} == constants
    assert {"HOOKS", "LIVE_NAME", "MOUNTS", "VERSION"} <= set(constants)
    assert PurePath(str(read_constants().__file__)) == PurePath(str(template.__file__))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in WRITES_FILES])
@pytest.mark.parametrize("machine", ABSENT)
def test_command_for_nodes_says_where_to_run_it(
    machine: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", machine)

    assert main([command], prog="dbx-patch") == 1
    output = capsys.readouterr()
    assert output.out == ""
    first, fix = output.err.splitlines()
    assert first.startswith(f"error: `dbx-patch {command}` ")
    assert "does not run Linux" in first
    assert fix.startswith("Fix: run it on the cluster")


def test_installer_error_is_public() -> None:
    assert dbx_patch.InstallerError is installer.InstallerError
