"""Show results as rows of names and values, in a terminal and in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape


def format_rows(rows: Mapping[str, object]) -> str:
    """Return one line per name and value, with the values aligned.

    >>> print(format_rows({"bands": 40, "wavelengths": "380–770 nm"}))
    bands        40
    wavelengths  380–770 nm
    """
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def html_table(rows: Mapping[str, object], caption: str = "") -> str:
    """Return an HTML table with one row per name and value.

    >>> html_table({"bands": 40}, "<cube>")
    '<table><caption>&lt;cube&gt;</caption><tr><th>bands</th><td>40</td></tr></table>'
    """
    cells = (
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    heading = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{heading}{''.join(cells)}</table>"


class RowsDisplay(ABC):
    """Base of results that are displayed as rows of names and values."""

    @abstractmethod
    def rows(self) -> dict[str, str]:
        """Return the properties as text, by name."""

    def __repr__(self) -> str:
        return format_rows(self.rows())

    def _repr_html_(self) -> str:
        return html_table(self.rows())
