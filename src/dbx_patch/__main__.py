"""`python -m dbx_patch`: the same as `dbx-patch`, for an interpreter that you name."""

import sys

from dbx_patch._cli import main

sys.exit(main(prog="python -m dbx_patch"))
