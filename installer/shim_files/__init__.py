"""The content of the files that the installer writes: bytes in, bytes out. Nothing here changes a file."""

from dbx_patch.installer.shim_files._block import (
    add_block,
    is_own,
    list_shims,
    list_shims_of_pth,
    remove_block,
    remove_every_block,
    write_pth,
    write_startup_module,
    write_startup_pth,
    write_startup_start,
)
from dbx_patch.installer.shim_files._stamp import (
    fill,
    find_parts,
    is_shim_file,
    list_parts,
    read_stamp,
    render,
    strip,
)

__all__ = [
    "add_block",
    "fill",
    "find_parts",
    "is_own",
    "is_shim_file",
    "list_parts",
    "list_shims",
    "list_shims_of_pth",
    "read_stamp",
    "remove_block",
    "remove_every_block",
    "render",
    "strip",
    "write_pth",
    "write_startup_module",
    "write_startup_pth",
    "write_startup_start",
]
