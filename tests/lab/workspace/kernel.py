"""A notebook's kernel on a node with a real workspace mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.kernel import Kernel, as_user
from tests.lab.missing import missing
from tests.lab.wheels import FetchError, pip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

    from tests.lab.node import Node
    from tests.lab.workspace import RealNotebook, Workspace


class WorkspaceKernel(Kernel):
    """A kernel in the namespace of a workspace; its tests reach it by its connection file and ports.

    It is without the stand-in for `WsfsPathFinder`: how Databricks' own recognizes a notebook is not known, and each
    question of the stand-in would be counted.
    """

    patience = 60

    def __init__(
        self,
        workspace: Workspace,
        environ: Mapping[str, str] | None = None,
        *,
        notebook: RealNotebook | None = None,
        user: int | None = None,
    ) -> None:
        """`notebook` is one that has only what the runtime has, by default; `user` is who runs it, root by default."""
        self.workspace = workspace
        environ = {"LAB_PATH_FINDER": "none"} | dict(environ or {})
        before = [*workspace.namespace.enter(), *(() if user is None else as_user(user))]
        super().__init__(notebook or workspace.plain_notebook, environ, before=before)

    def folder(self, node: Node) -> Path:
        """Return the folder that is the same inside and outside."""
        del node
        return self.workspace.shared

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self.workspace.mount.heal()
            self.manager.shutdown_kernel(now=True)
            raise

    def __exit__(self, *_: object) -> None:
        self.workspace.mount.heal()  # a kernel that waits for the mount can't be killed
        super().__exit__()


def provide_kernels(workspace: Workspace, real_hook: Path, *wanted: str) -> None:
    """Let each user run kernels behind the published hook, with more packages in the runtime's layer.

    The test is skipped if the packages can't be fetched.
    """
    try:
        install_wheels(workspace, "ipykernel", *wanted)
    except FetchError as error:
        missing(f"the wheels of {' and '.join(('ipykernel', *wanted))}: {error}")
    workspace.provide_hook(real_hook)
    # A kernel's user reads its connection file. The machine's own folders stay private.
    workspace.run(["chmod", "a+x", *list(workspace.shared.parents)[:-1]], check=True)


def install_wheels(workspace: Workspace, *wanted: str) -> None:
    """Install packages into the runtime's layer, unless they are there. Raises FetchError if they can't be fetched."""
    layer = workspace.outside(workspace.node.layer(workspace.node.runtime))
    if all((layer / name).exists() for name in wanted):
        return
    folder = workspace.shared / "wheels"
    fetch = ("download", "--quiet", "--only-binary=:all:", "--dest", folder)
    pip(*fetch, f"--python-version=3.{workspace.node.interpreter.minor}", *wanted)
    workspace.node.pip("install", "--quiet", f"--find-links={folder}", *wanted)
