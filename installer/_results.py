"""How a result is shown in a notebook."""


class Shown:
    """A result that is shown in a notebook as it is printed."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Show it as its text, escaped."""
        from html import escape  # noqa: PLC0415  # only notebooks need it

        return f"<pre>{escape(str(self))}</pre>"
