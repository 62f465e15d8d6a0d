"""What the shim costs and saves, in ratios; run by `python -m tests.bench`, and asserted nowhere by time."""
