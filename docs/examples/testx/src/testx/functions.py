"""What the example has to offer; edit it, and the notebook runs the edit."""


def function1() -> str:
    """Say where it comes from: the project's folder, not a copy in site-packages."""
    return f"function1 of {__file__}"
