"""Environments in the shape that those of serverless compute have, according to public sources.

What it stands on:

- The environment is `/local_disk0/.ephemeral_nfs/envs/pythonEnv-…` above `/databricks/python3` (the paths that public
  error reports show), and it is made anew for each session.
- Its dependencies are lines of a pip requirements file: wheels in volumes, `--editable` (the SDK's documentation).
- A base environment is at `/opt/databricks-environments/<name>`, and reaches `sys.path` by `site.addsitedir` (a comment
  in `databricks-sdk-air`).
- A task runs in a long-lived `db_ipykernel_launcher.py`; a script task is run by `exec(compile(…))`, without `__file__`
  (`databrickslabs/ontos` #685, #795).
- `/Workspace` can't be read when the interpreter starts, and can later (databricks/cli#1619, and the code of workers
  in `databricks-connect`).

What is not known: who runs pip, as which user and in which order; when `site.addsitedir` is called; which import hooks
there are. So pip here is the runtime's, run by the user who has nothing but the environment, and a base
environment is added at the start or later. None of this shows what serverless compute does.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dbx_patch.installer import write_startup_wheel
from tests.lab.wheels import LOWEST
from tests.lab.workspace import RealNotebook, Workspace

if TYPE_CHECKING:
    from tests.lab.projects import Backends

USER = 4001
"""The user without rights who owns each environment."""
VOLUME = Path("/Volumes/main/default/libraries")
"""Where the start-up wheel is. It is an ordinary folder here."""
INDEX = Path("/opt/index")
"""The wheels that pip can install, in place of a package index."""
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(INDEX), "PIP_NO_CACHE_DIR": "1"}
BASES = Path("/opt/databricks-environments")
"""Where base environments are, which only root can write."""


@dataclass(frozen=True)
class Environment(RealNotebook):
    """A session's environment, and the processes in it. Its user can write nothing else, not even a home folder."""

    @property
    def environ(self) -> dict[str, str]:
        """What a session's processes have beside a node's."""
        own = {"HOME": str(self.environment), "TMPDIR": f"{self.environment}/tmp"}
        return super().environ | own

    def install(self, *lines: str, folder: str | Path = "/", check: bool = True) -> str:
        """Have pip install requirement lines as the user, in a working directory; return what it prints."""
        requirements = self.environment / "tmp/requirements.txt"
        self.workspace.outside(requirements).write_text("".join(f"{line}\n" for line in lines))
        pip = [self.node.python, "-m", "pip", "--disable-pip-version-check", "--python", self.python]
        command = ["env", f"--chdir={folder}", *pip, "install", "-r", requirements]
        done = self.workspace.run(command, self.environ | OFFLINE, user=USER, check=check, timeout=300)
        return done.stdout + done.stderr


def provide_serverless(workspace: Workspace, backends: Backends) -> str:
    """Prepare a node for such environments; return the first line of their dependencies, the start-up wheel."""
    workspace.node.pip("install", "--quiet", *LOWEST)  # a runtime has both
    for wheels in (backends.wheels, workspace.node.wheelhouse):
        shutil.copytree(wheels, workspace.outside(INDEX), dirs_exist_ok=True)
    volume = workspace.outside(VOLUME)
    volume.mkdir(parents=True)
    return str(VOLUME / Path(write_startup_wheel(volume).path).name)


def make_environment(workspace: Workspace, *below: Path) -> Environment:
    """Make the environment of a session. `site` adds the layers `below`, with their `.pth` files, when it starts."""
    environment = workspace.make_notebook().environment
    lines = "".join(f"import site; site.addsitedir({str(layer)!r})\n" for layer in below)
    workspace.node.write(workspace.node.layer(environment) / "base_environment.pth", lines)
    workspace.outside(environment / "tmp").mkdir()
    workspace.give(USER, environment)
    return Environment(workspace.node, environment, workspace)


def make_base_environment(workspace: Workspace, name: str, *lines: str) -> Path:
    """Make a base environment with requirement lines; return its layer."""
    node, base = workspace.node, BASES / name
    workspace.run([node.python, "-m", "venv", "--without-pip", base], check=True)
    node.write(base / "requirements.txt", "".join(f"{line}\n" for line in lines))
    pip = [node.python, "-m", "pip", "--disable-pip-version-check", "--python", base / "bin/python"]
    workspace.run([*pip, "install", "-r", base / "requirements.txt"], OFFLINE, check=True, timeout=300)
    return node.layer(base)
