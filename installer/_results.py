"""What install, uninstall and status return, and the text that they print."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch.installer._byte_code import SAVED
from dbx_patch.installer._places import Slot
from dbx_patch.sitecustomize_template import STARTUP, template


class Shown:
    """A result that a notebook shows as it is printed."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the text, escaped. IPython calls this."""
        from html import escape  # noqa: PLC0415  # only notebooks need it

        return f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{escape(str(self))}</pre>'


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
    notebook: bool = False
    """Whether the interpreter's environment is a notebook's own."""
    silenced: str | None = None
    """A project's `sitecustomize` that Python does not import, because ours comes first."""
    reaches_notebooks: bool = field(init=False)
    """Whether the shim runs in the notebook environments that are created from the interpreter."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reaches_notebooks", self.slot is not None and self.slot.reaches_notebooks)

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return the text to print; with `verbose` it lists byte-code files as well."""
        if self.kept:
            lines = [
                f"dbx-patch {self.version} is installed for {self.python}.",
                f"It is newer than this version, {template.VERSION}, and was kept.",
            ]
            if not self.reaches_notebooks:
                lines.append(THIS_NOTEBOOK if self.notebook else NO_NOTEBOOKS)
            return "\n".join([*lines, "To replace it, run the command again with `--force`."])
        files = list_files(self.changed, verbose=verbose)
        if self.dry_run:
            head = f"This would install dbx-patch {self.version} for {self.python} (slot {self.slot})"
            lines = [f"{head}:", *files] if files else [f"{head}, and change nothing."]
            return "\n".join([*lines, *explain_silenced(self.silenced, self.file), *self._reach()])
        if self.changed:
            lines = [f"Installed dbx-patch {self.version} for {self.python}:", *files]
        else:
            lines = [f"dbx-patch {self.version} is already installed for {self.python}; nothing was changed."]
        if self.slot == Slot.FOREIGN:
            lines += [
                f"{self.loader} now loads the shim.",
                "It is another package's file. Its own code runs as before.",
            ]
        if self.reaches_notebooks:
            where = "in this interpreter and in notebook environments created from it"
            lines.append(f"Verified {where} ({self.proof_ms} ms).")
        else:
            lines.append(f"Verified in this interpreter ({self.proof_ms} ms).")
            lines.append("The shim works in this environment only, not in environments created from it.")
        if self.changed and (self.reaches_notebooks or self.notebook):
            lines.append("Notebooks that are running now use it once they are restarted.")
        return "\n".join([*lines, *explain_silenced(self.silenced, self.file), *self._reach()])

    def _reach(self) -> list[str]:
        if self.reaches_notebooks:
            return []
        return explain_reach(self.python, self.passed_over, notebook=self.notebook)


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
    cache: str | None = None
    """The folder in which this user's byte code of editable packages was cached; None if there was none."""
    cache_kept: str = ""
    """Why that folder was not removed; empty if it was."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return the text to print; with `verbose` it lists byte-code files as well."""
        lines = [f"dbx-patch is not installed for {self.python}."]
        if not self.changed and self.cache is None:
            lines.append("There is nothing to do.")
        if self.changed:
            done = "This would uninstall" if self.dry_run else "Uninstalled"
            then = "restore or remove" if self.dry_run else "restored or removed"
            lines = [f"{done} dbx-patch for {self.python}, and {then}:", *list_files(self.changed, verbose=verbose)]
        if self.still_live:
            whose, fix = "another environment", "`python -m dbx_patch.uninstall` with that environment's Python"
            if STARTUP in Path(self.still_live).parts:
                whose, fix = "the start-up wheel", "`pip uninstall dbx-patch` in the environment that has the wheel"
            lines += [f"The shim of {whose} is still live there:", f"  {self.still_live}"]
            lines.append(f"Fix: to uninstall it too, run {fix}.")
        if self.cache and self.cache_kept:
            lines += [f"The byte code that is cached for you was not removed: {self.cache}.", self.cache_kept]
        elif self.cache:
            removed = "would be" if self.dry_run else "was"
            lines.append(f"The byte code that was cached for you {removed} removed: {self.cache}.")
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
    reaches_notebooks: bool
    """Whether it is live, and notebook environments that are created from the interpreter start with it too."""
    passed_over: list[str]
    """If it is live and notebooks are not reached: what is in the way now, as far as it can be seen."""
    notebook: bool
    """Whether the interpreter's environment is a notebook's own."""
    hooks: dict[str, str]
    """The modules of Databricks' import hooks that the shim patches, each with its state if the shim is live."""
    layers: list[dict[str, Any]]
    others: list[str] = field(default_factory=list)
    """Other shims that are installed for this interpreter and do not run, each with its version."""
    mounts: dict[str, str] = field(default_factory=dict)
    """The mounts that editable installs are on, each with its state in words. Asked by the command, not by `status`."""
    silenced: str | None = None
    """A project's `sitecustomize` that Python does not import, because ours comes first. Asked likewise."""

    @property
    def is_alone(self) -> bool:
        """Whether it is live in a notebook's own environment, for that notebook alone."""
        return self.live and self.notebook and self.slot in (Slot.PTH, Slot.WHEEL)

    @property
    def head(self) -> str:
        """Whether editable installs can be imported in notebooks, in words."""
        if self.is_alone:
            return "Editable installs work in this notebook only."
        return f"Editable installs {'work' if self.reaches_notebooks else 'do not work'} in notebooks."

    def __str__(self) -> str:
        command = f"`{name_command(self.python)}`"
        name = f"dbx-patch {self.version}" if self.version else "dbx-patch (unknown version)"
        if self.live:
            slot = f" (slot {self.slot})" if self.slot else ""
            lines = [f"{name} is live in {self.python}{slot}.", f"Shim: {self.file}"]
            if not self.reaches_notebooks:
                scope = "in this notebook only" if self.is_alone else "but notebooks are not reached"
                lines[0] = f"{name} runs in {self.python}{slot}, {scope}."
                if self.slot == Slot.WHEEL:
                    lines.append(BY_WHEEL)
                elif self.slot == Slot.PTH:
                    lines += explain_reach(self.python, self.passed_over, notebook=self.notebook)
                else:  # an install extends what is in the way now
                    reasons = [line for reason in self.passed_over for line in reason.splitlines()]
                    lines += [NO_NOTEBOOKS, *reasons, f"Fix: run {name_command_as_root(self.python)}."]
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
        if self.live and self.others:
            lines += ["Also installed, and not running:", *(f"  {other}" for other in self.others), FIRST_RUNS]
        lines += explain_silenced(self.silenced, self.file)
        for layer in self.layers:
            note = "" if layer["opened_by_site"] else " (Python reads no .pth files here)"
            lines.append(f"Layer: {layer['path']}{note}")
            lines += [f"  {Path(editable['pth']).name}: {editable['line']}" for editable in layer["editables"]]
        lines += [f"Mount: {mount} {state}" for mount, state in self.mounts.items() if state != "answers"]
        lines.append("Databricks' import hooks:")
        lines += [f"  {hook}: {state}" if state else f"  {hook}" for hook, state in self.hooks.items()]
        return "\n".join([self.head, *lines])


NO_NOTEBOOKS = "Notebooks are not reached: they start without the shim."
BY_WHEEL = "It is the start-up wheel's, and runs in the environments that the wheel is installed in."
FIRST_RUNS = "The first shim that Python comes to runs alone: `.pth` files come before `sitecustomize`."
THIS_NOTEBOOK = "Only this notebook is reached: other notebooks have environments of their own."
SEPARATE = "Fix: to reach every notebook, install it by an init script; `dbx-patch init-script` prints one."


def explain_silenced(file: str | None, shim: str | None) -> list[str]:
    """Return lines on a project's `sitecustomize` that does not run because of ours, and what to do."""
    if not file or not shim:
        return []
    return [
        "A project's `sitecustomize` does not run:",
        f"  {file}",
        "Python imports the first one on its path only, and that one loads the shim.",
        "Fix: rename it, for example to `my_startup`, and write the line `import my_startup` to this file:",
        f"  {Path(shim).with_name('my_startup.pth')}",
    ]


def explain_reach(python: str, reasons: Iterable[str], *, notebook: bool) -> list[str]:
    """Return lines on which notebooks the shim of an interpreter does not reach, why, and what changes that.

    `reasons` are texts of several lines, and those that the user can change end with a line `Fix: …`.
    """
    if notebook:  # from there, no other notebook can be reached, whatever the reasons are
        return [THIS_NOTEBOOK, SEPARATE]
    reasons = [line for reason in dict.fromkeys(reasons) for line in reason.splitlines()]
    command = name_command_as_root(python)
    if not reasons:
        return [NO_NOTEBOOKS, f"Fix: run {command}, which tries again and prints the reason."]
    fix = f"Fix: run {command}."
    if any(line.startswith("Fix: ") for line in reasons):
        fix = f"Fix: run {command} after that."
    elif not os.geteuid():
        fix = f"Fix: run {command} after you have removed the obstacle."
    return [NO_NOTEBOOKS, "What reaches them could not be used:", *(f"  {line}" for line in reasons), fix]


def name_command_as_root(python: str) -> str:
    """Return the command in backticks, with `sudo` for other users than root."""
    return f"`{'sudo ' if os.geteuid() else ''}{name_command(python)}`"


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
