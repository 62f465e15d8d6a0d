"""A Python process that runs code as it is told, so that a test decides what the mount does between two imports."""

from __future__ import annotations

import json
import queue
import threading
from typing import TYPE_CHECKING, Any

from tests.lab.workspace.namespace import end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

    from tests.lab.workspace import RealNotebook, Workspace

LOOP = """\
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Databricks' hook prints its errors
variables = {"__name__": "__main__"}
for line in sys.stdin:
    variables.update(answer=None, error=None)
    try:
        exec(json.loads(line), variables)
        reply = {"answer": variables["answer"]}
    except BaseException as error:
        cause = error.__cause__ and type(error.__cause__).__name__
        reply = {"error": type(error).__name__, "text": str(error), "cause": cause}
    print(json.dumps(reply), file=answers, flush=True)
"""


class ConsoleError(Exception):
    """An exception that the code raised."""

    def __init__(self, name: str, text: str, cause: str | None) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.cause = cause
        """The name of the exception that caused it."""


class Console:
    """An interpreter of a notebook, by default of one that has only what the runtime has.

    `user` is who runs it, root by default.
    """

    def __init__(
        self,
        workspace: Workspace,
        environ: Mapping[str, str] | None = None,
        *,
        notebook: RealNotebook | None = None,
        user: int | None = None,
    ) -> None:
        self.workspace = workspace
        notebook = notebook or workspace.plain_notebook
        environ = notebook.environ | dict(environ or {})
        self.process = workspace.start([notebook.python, "-c", LOOP], environ, user=user, stderr=None)
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.workspace.mount.heal()  # a process that waits for the mount can't be killed
        end(self.process)

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self._answers.put(line)
        except ValueError:  # closed
            return

    def run(self, code: str, timeout: float = 60) -> Any:
        """Run code and return what it assigned to `answer`. Raises ConsoleError, or TimeoutError while it waits."""
        __tracebackhide__ = True
        self.send(code)
        return self.receive(timeout)

    def send(self, code: str) -> None:
        """Let it run code, and don't wait."""
        assert self.process.stdin is not None
        print(json.dumps(code), file=self.process.stdin, flush=True)

    def receive(self, timeout: float = 60) -> Any:
        """Return the answer to code that was sent."""
        __tracebackhide__ = True
        try:
            reply = json.loads(self._answers.get(timeout=timeout))
        except queue.Empty:
            msg = f"no answer in {timeout} s"
            raise TimeoutError(msg) from None
        if "error" in reply:
            raise ConsoleError(reply["error"], reply["text"], reply["cause"])
        return reply["answer"]
