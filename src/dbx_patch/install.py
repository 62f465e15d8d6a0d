"""`python -m dbx_patch.install`: the same as `dbx-patch install`."""

import sys

from dbx_patch._cli import main

if __name__ == "__main__":
    sys.exit(main(["install", *sys.argv[1:]], prog="python -m dbx_patch"))
