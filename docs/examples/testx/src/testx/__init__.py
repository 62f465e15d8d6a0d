"""The package of the README's example."""

from testx.functions import function1

__all__ = ["function1"]
