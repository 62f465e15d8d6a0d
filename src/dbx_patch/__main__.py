"""`python -m dbx_patch`."""

import sys

from dbx_patch._cli import main

sys.exit(main(prog="python -m dbx_patch"))
