"""Make the changes of an install and an uninstall, in one transaction."""

from __future__ import annotations

from pathlib import Path

from dbx_patch.installer._byte_code import (
    name_byte_code,
    remove_with_byte_code,
    restore_byte_code,
    save_byte_code,
    write_byte_code,
)
from dbx_patch.installer._errors import NotLiveError
from dbx_patch.installer._interpreter import Interpreter
from dbx_patch.installer._places import (
    PTH_FILE,
    Place,
    Slot,
    find_foreign_obstacle,
    find_kernel_folders,
    find_loaders,
    list_sitecustomizes,
)
from dbx_patch.installer.files import Transaction, read
from dbx_patch.installer.shim_files import (
    add_block,
    find_parts,
    is_shim_file,
    list_shims,
    remove_block,
    render,
    write_pth,
)
from dbx_patch.sitecustomize_template import SHIM


def install_into(transaction: Transaction, interpreter: Interpreter, place: Place) -> None:
    """Install the shim at a place, and remove the loaders that an earlier install left at other places.

    Raises NotLiveError if the shim could not run in notebooks from there, InstallerError if a file can't be compiled,
    and OSError.
    """
    loaders = [] if place.slot is Slot.PTH else find_kernel_loaders(interpreter, place)
    loaders = [place.loader, *(loader for loader in loaders if loader.resolve() != place.loader.resolve())]
    needed = [loader.resolve() for loader in loaders]
    for loader, shim in find_loaders(interpreter):
        if shim == place.shim and loader.resolve() not in needed:
            restore_loader(transaction, interpreter, loader, shim)
    # The shim after its parts and before what loads it: a Python that starts in between runs no half install.
    for file, content in render(place.shim).items():
        transaction.write(file, content)
        write_byte_code(transaction, interpreter, file)
    if place.slot is Slot.PTH:
        transaction.write(place.loader, write_pth(str(place.shim)))
    else:
        for loader in loaders:
            extend_loader(transaction, interpreter, loader, place.shim)


def remove_other_parts(transaction: Transaction, place: Place) -> None:
    """Remove the parts that belong to another build of the shim."""
    kept = render(place.shim)
    for file in find_parts(place.shim):
        if file not in kept:
            remove_with_byte_code(transaction, file)


def find_kernel_loaders(interpreter: Interpreter, place: Place) -> list[Path]:
    """Return the foreign `sitecustomize` that comes before all others in a kernel, if there is one.

    Raises NotLiveError if it can't be extended: then nothing that is extended instead would run in notebooks.
    """
    folders = find_kernel_folders(interpreter)
    if not folders:
        return []
    loader = list_sitecustomizes(folders[0])[0]
    obstacle = find_foreign_obstacle(Place(Slot.FOREIGN, place.shim, loader))
    if obstacle:
        msg = f"Notebook kernels import {loader} before all others.\n{obstacle}"
        raise NotLiveError(msg)
    return [loader]


def remove_from(transaction: Transaction, interpreter: Interpreter) -> None:
    """Remove the shim of an interpreter's environment, and restore what loads it."""
    own = interpreter.purelib / SHIM
    loaders = [(loader, shim) for loader, shim in find_loaders(interpreter) if shim in {own, loader}]
    for loader, shim in reversed(loaders):  # the block that was added last goes first
        restore_loader(transaction, interpreter, loader, shim)
    for file in (own, *find_parts(own)):
        if loaders or is_shim_file(read(file)):
            remove_with_byte_code(transaction, file)
    for file in interpreter.sitecustomizes:
        if not list_shims(transaction.read(file.resolve()) or b""):
            # The block can be gone already: deleted by hand, or with the file by a package manager's upgrade.
            restore_byte_code(transaction, interpreter, file)


def extend_loader(transaction: Transaction, interpreter: Interpreter, loader: Path, shim: Path) -> None:
    """Have a `sitecustomize` load the shim: a foreign one, or a new one if there is none.

    A foreign one keeps its modification time. Once the block is gone, its size is the old one as well, and then the
    saved byte code is valid again.
    """
    before = loader.read_bytes() if loader.exists() else None
    after = add_block(before, str(shim))
    if after != before:
        if before is not None and not list_shims(before):
            save_byte_code(transaction, interpreter, loader)
        # To the target of a link, as Debian's in /usr/lib, which links to /etc: a rename would replace the link.
        transaction.write(loader.resolve(), after, like=loader if before is not None else None)
    write_byte_code(transaction, interpreter, loader)


def restore_loader(transaction: Transaction, interpreter: Interpreter, loader: Path, shim: Path) -> None:
    """Remove the block that loads or is a shim; remove the file if the installer created it for that."""
    if loader.name == PTH_FILE:
        transaction.remove(loader)
        return
    after = remove_block(transaction.read(loader.resolve()) or b"", "" if shim == loader else str(shim))
    if after is None:
        remove_with_byte_code(transaction, loader)
        return
    transaction.write(loader.resolve(), after, like=loader)
    if list_shims(after):  # the block of another environment over the same interpreter
        write_byte_code(transaction, interpreter, loader)
    else:
        transaction.remove(name_byte_code(loader, interpreter))
        restore_byte_code(transaction, interpreter, loader)
