"""Runs code in a fresh interpreter, or in this process, and returns its answer."""

from __future__ import annotations

import ast
import contextlib
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

LIMIT = 60.0
"""Seconds that a process has for its answer, which takes some tenths of one."""
SETTLED = 0.005
"""Seconds after which a process looks for new installs again: it does so once in a millisecond."""
CHILD = """\
import os, posix, sys
cookie, folder, code = sys.argv[1:]
del sys.argv[1:]
calls = []
def note(operation, path):
    path = os.fsdecode(path) if isinstance(path, (bytes, str)) else ""
    if folder and (path + "/").startswith(folder + "/"):
        calls.append((operation, path))
def watch(name):
    function = getattr(posix, name)
    def counted(path, *args, **named):
        note(name, path)
        return function(path, *args, **named)
    setattr(posix, name, counted)
    setattr(os, name, counted)
def hear(event, args):
    if event in ("open", "os.listdir", "os.scandir"):
        note(event, args[0])
if folder:
    watch("stat")
    watch("lstat")
    sys.addaudithook(hear)
def say(what):
    print(cookie + ascii(what), flush=True)
def pause():
    say("pause")
    sys.stdin.readline()
space = {"__name__": "__main__", "pause": pause, "calls": calls}
try:
    exec(compile(code, "<self-test>", "exec"), space)
except Exception as error:
    say((None, type(error).__name__, str(error), calls))
else:
    say((space["answer"], "", "", calls))
"""
"""What a fresh interpreter runs. It counts what Python asks for below a folder: importlib looks `posix.stat` up at each
call, and the other calls raise audit events."""


class BrokenError(Exception):
    """A promise does not hold. The arguments are what was found in our words, and the text of an error or nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What some code has set `answer` to."""

    value: Any
    calls: list[tuple[str, str]] | None
    """The calls below the counted folder, each with its operation and path; None if they were not counted."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Fresh interpreters, started as this one was, with the environment variables of this process."""

    folder: Path
    """A folder of ours: where they start, and keep byte code."""
    layer: Path | None
    """A temporary layer that is on their PYTHONPATH, if there is one by now."""
    title = "fresh interpreter"

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return their environment variables. They keep no byte code but in our folder, and so leave nothing behind."""
        own = {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": f"{self.folder}/cache"}
        if self.layer:
            own["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(self.layer)])
        return {**os.environ, **own, **(more or {})}

    def run(self, code: str, between: Callable[[], object] | None = None, counted: str = "") -> Answer:
        """Run code that sets `answer`. When it calls `pause()`, call `between` and let it go on.

        Calls below the folder `counted` are counted. Raises BrokenError if the code raises, or gives no answer.
        """
        cookie = secrets.token_hex(8)
        command = [sys.executable, "-c", CHILD, cookie, counted, code]
        with Child(command, self.environ(), self.folder) as child:
            value, kind, text, calls = child.listen(cookie, between or (lambda: None))
        if kind:
            msg = f"it raised {kind}"
            raise BrokenError(msg, f"{kind}: {text}")
        return Answer(value, calls if counted else None)


class Child:
    """A process in a session of its own: Ctrl-C in a terminal does not reach it. It is ended with its context."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the context
        self.process = subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        for pipe in (self.errors, self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # if it waits for a mount, it can't be killed
            self.process.wait(1)

    def listen(self, cookie: str, answer: Callable[[], object]) -> Any:
        """Return what the process says that is no pause. In a pause, call `answer`. Raises BrokenError."""
        process: Any = self.process
        deadline, rest = time.monotonic() + LIMIT, b""
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            data = process.stdout.read(1 << 16)
            if not data:
                self.errors.seek(0)
                msg = "it ended without an answer"
                raise BrokenError(msg, self.errors.read().decode("utf-8", "backslashreplace").strip())
            *lines, rest = (rest + data).split(b"\n")
            # A start-up file can print, too.
            for line in (line for line in lines if cookie.encode() in line):
                said = ast.literal_eval(line.decode("utf-8", "backslashreplace").partition(cookie)[2])
                if said != "pause":
                    return said
                answer()
                time.sleep(SETTLED)
                with contextlib.suppress(BrokenPipeError):  # it has ended meanwhile
                    process.stdin.write(b"\n")
        msg = f"it gave no answer within {LIMIT:.0f} seconds"
        raise BrokenError(msg, "")


@dataclass(frozen=True, slots=True)
class Here:
    """The process that this is."""

    layer: Path
    """A temporary layer, which is put on `sys.path`."""
    title = "this process"

    def run(self, code: str, between: Callable[[], object] | None = None, counted: str = "") -> Answer:
        """Run code that sets `answer`, as `Fresh.run` does. Calls can't be counted here."""
        del counted
        if str(self.layer) not in sys.path:
            sys.path.append(str(self.layer))

        def pause() -> None:
            if between:
                between()
            time.sleep(SETTLED)

        space: dict[str, Any] = {"__name__": "__main__", "pause": pause, "calls": []}
        time.sleep(SETTLED)
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            exec(compile(code, "<self-test>", "exec"), space)  # noqa: S102  # as a notebook runs a cell
        except (Exception, SystemExit) as error:  # whatever an import raises is the finding
            msg = f"it raised {type(error).__name__}"
            raise BrokenError(msg, f"{type(error).__name__}: {error}") from error
        finally:
            sys.dont_write_bytecode = before
        return Answer(space["answer"], None)
