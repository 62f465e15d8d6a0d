"""Stand-in for the top-level module `sys_path_init`.

Stands on: the module's name, the function's name, that it shapes `sys.path` as the kernel starts, and that it reads no
`.pth` file. Can't tell: what it keeps, whether it changes the list in place, who calls it. So it does the worst of
each, as LAB_SYS_PATH_INIT asks: `rebind` makes a new list, `import` calls it as the module is imported.
"""

import os
import sys

WISHES = os.environ.get("LAB_SYS_PATH_INIT", "").split(",")


def patch_sys_path_with_developer_paths():
    """Leave of `sys.path` what is no workspace folder."""
    kept = [entry for entry in sys.path if "/Workspace/" not in entry and "/wsfs/" not in entry]
    if "rebind" in WISHES:
        sys.path = kept
    else:
        sys.path[:] = kept


if "import" in WISHES:
    patch_sys_path_with_developer_paths()
