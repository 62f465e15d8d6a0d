"""`python -m dbx_patch.uninstall`: the same as `dbx-patch uninstall`."""

import sys

from dbx_patch._cli import main

if __name__ == "__main__":
    sys.exit(main(["uninstall", *sys.argv[1:]], prog="python -m dbx_patch"))
