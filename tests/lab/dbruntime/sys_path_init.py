"""Stand-in for the top-level module `sys_path_init`.

Based on: the names of the module and the function, and what it does: it changes `sys.path` as the kernel starts, and
reads no `.pth` file.
Unknown: what it keeps, whether it changes the list in place, and what calls it. So a test asks for the worst cases with
LAB_SYS_PATH_INIT: `rebind` makes a new list, and `import` calls the function as the module is imported.
"""

import os
import sys

CASES = os.environ.get("LAB_SYS_PATH_INIT", "").split(",")


def patch_sys_path_with_developer_paths():
    """Remove workspace folders from `sys.path`."""
    kept = [entry for entry in sys.path if "/Workspace/" not in entry and "/wsfs/" not in entry]
    if "rebind" in CASES:
        sys.path = kept
    else:
        sys.path[:] = kept


if "import" in CASES:
    patch_sys_path_with_developer_paths()
