"""What install, uninstall and status return, and the text that they print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch.installer._byte_code import SAVED
from dbx_patch.installer._places import Slot
from dbx_patch.sitecustomize_template import template


class Shown:
    """A result that a notebook shows as it is printed."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the text, escaped. IPython calls this."""
        from html import escape  # noqa: PLC0415  # only notebooks need it

        return f"<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True, slots=True)
class Installation(Shown):
    """What `install` did."""

    python: str
    version: str
    slot: Slot | None
    file: str
    """The shim."""
    loader: str
    """The file that loads it: slot 1 a `sitecustomize` of our own, slot 2 a foreign one, slot 3 a `.pth` file."""
    changed: list[str] = field(default_factory=list)
    """The files that were written or removed, byte code included; none if it was installed already."""
    proof_ms: int = 0
    """Milliseconds that it took to start the interpreter and notebook environments, and see the shim live in each."""
    kept: bool = False
    """Whether a newer version was found and kept."""
    passed_over: list[str] = field(default_factory=list)
    """Why the slots before this one could not be used."""
    dry_run: bool = False
    """Whether nothing was changed, and `changed` lists what would be."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return the text to print; with `verbose` it lists byte-code files as well."""
        if self.kept:
            return (
                f"dbx-patch {self.version} is installed for {self.python}.\n"
                f"It is newer than this version, {template.VERSION}, and was kept.\n"
                "To replace it, run the command again with `--force`."
            )
        files = list_files(self.changed, verbose=verbose)
        if self.dry_run:
            head = f"This would install dbx-patch {self.version} for {self.python} (slot {self.slot})"
            return "\n".join([f"{head}:", *files] if files else [f"{head}, and change nothing."])
        if self.changed:
            lines = [f"Installed dbx-patch {self.version} for {self.python}:", *files]
        else:
            lines = [f"dbx-patch {self.version} is already installed for {self.python}; nothing was changed."]
        if self.passed_over:
            reasons = [f"  {line}" for reason in self.passed_over for line in reason.splitlines()]
            lines += ["Could not use the preferred location:", *reasons]
        if self.slot == Slot.FOREIGN:
            lines += [
                f"{self.loader} now loads the shim.",
                "It is another package's file. Its own code runs as before.",
            ]
        if self.slot == Slot.PTH:
            lines.append(f"Verified in this interpreter ({self.proof_ms} ms).")
            lines.append("The shim works in this environment only, not in environments created from it.")
        else:
            where = "in this interpreter and in notebook environments created from it"
            lines.append(f"Verified {where} ({self.proof_ms} ms).")
        if self.changed:
            lines.append("Notebooks that are running now use it once they are restarted.")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Uninstallation(Shown):
    """What `uninstall` did."""

    python: str
    changed: list[str] = field(default_factory=list)
    """The files that were restored or removed, byte code included; none if there was nothing to do."""
    still_live: str | None = None
    """The shim of another environment that runs in this interpreter, if there is one."""
    dry_run: bool = False
    """Whether nothing was changed, and `changed` lists what would be."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return the text to print; with `verbose` it lists byte-code files as well."""
        lines = [f"dbx-patch is not installed for {self.python}.", "There is nothing to do."]
        if self.changed:
            done = "This would uninstall" if self.dry_run else "Uninstalled"
            then = "restore or remove" if self.dry_run else "restored or removed"
            lines = [f"{done} dbx-patch for {self.python}, and {then}:", *list_files(self.changed, verbose=verbose)]
        if self.still_live:
            lines += [
                "The shim of another environment is still live there:",
                f"  {self.still_live}",
                "Fix: to uninstall it too, run `python -m dbx_patch.uninstall` with that environment's Python.",
            ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Status(Shown):
    """The state of the shim in one interpreter that this process's environment starts."""

    python: str
    live: bool
    version: str | None
    """The running shim's version, or else the installed one's."""
    slot: int | None
    file: str | None
    """The running shim's file, or else the installed one's."""
    shadowed_by: str | None
    """The foreign `sitecustomize` that comes before the installed shim and doesn't load it."""
    disabled: bool
    """Whether DBX_PATCH_DISABLE turns the shim off in this environment."""
    hooks: dict[str, str]
    """The modules of Databricks' import hooks that the shim patches, each with its state if the shim is live."""
    layers: list[dict[str, Any]]

    def __str__(self) -> str:
        command = f"`{name_command(self.python)}`"
        name = f"dbx-patch {self.version}" if self.version else "dbx-patch (unknown version)"
        if self.live:
            slot = f" (slot {self.slot})" if self.slot else ""
            lines = [f"{name} is live in {self.python}{slot}.", f"Shim: {self.file}"]
        elif self.file is None:
            lines = [f"dbx-patch is not installed for {self.python}.", f"Fix: run {command}."]
        elif self.disabled:
            lines = [f"{name} is installed for {self.python}, and turned off by DBX_PATCH_DISABLE."]
            lines += [f"Shim: {self.file}", "Fix: unset DBX_PATCH_DISABLE."]
        else:
            lines = [f"{name} is installed for {self.python}, but not live.", f"Shim: {self.file}"]
            shadowed = f"{self.shadowed_by} comes before it on the path, and does not load it."
            lines.append(shadowed if self.shadowed_by else "This file or one of its parts is missing or broken.")
            lines.append(f"Fix: run {command}.")
        for layer in self.layers:
            note = "" if layer["opened_by_site"] else " (Python reads no .pth files here)"
            lines.append(f"Layer: {layer['path']}{note}")
            lines += [f"  {Path(editable['pth']).name}: {editable['line']}" for editable in layer["editables"]]
        lines.append("Databricks' import hooks:")
        lines += [f"  {hook}: {state}" if state else f"  {hook}" for hook, state in self.hooks.items()]
        return "\n".join(lines)


def name_command(python: str) -> str:
    """Return the command that installs the shim for an interpreter, which need not have this package."""
    command = [sys.executable, "-m", "dbx_patch.install"]
    return shlex.join(command if python == sys.executable else [*command, "--python", python])


def list_files(files: Iterable[str], *, verbose: bool) -> list[str]:
    """Return files as lines; without `verbose` the byte code is only counted, and only if there is nothing else."""
    every = list(files)
    shown = [file for file in every if verbose or not file.removesuffix(SAVED).endswith(".pyc")]
    if every and not shown:
        return [f"  {len(every)} byte-code file{'s' if len(every) > 1 else ''} (`--verbose` lists them)"]
    return [f"  {file}" for file in shown]
