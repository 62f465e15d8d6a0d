"""What the example has to offer; edit it, and the notebook runs the edit."""


def function1() -> str:
    """Return where this module was imported from."""
    return f"function1 of {__file__}"
