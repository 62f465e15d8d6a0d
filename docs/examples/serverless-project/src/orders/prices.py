"""Prices, without Spark: so they can be tested anywhere."""

from __future__ import annotations

TAX = 0.19


def add_tax(net: float) -> float:
    """Return the price that a customer pays, rounded to cents."""
    return round(net * (1 + TAX), 2)
