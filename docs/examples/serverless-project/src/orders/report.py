"""The entry point of the wheel task."""

from __future__ import annotations

from orders.prices import add_tax


def main() -> None:
    """Print a report."""
    print(f"{add_tax(100)} from {__file__}")
