"""What dbx-patch costs: `python -m tests.bench`."""
