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


class RowsDisplay(ABC):
    """Base of results that are displayed as rows of names and values."""

    @abstractmethod
    def rows(self) -> dict[str, str]:
        """Return the properties as text, by name."""

    def __repr__(self) -> str:
        return format_rows(self.rows())

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.rows().items()
        )
        return f"<table>{''.join(cells)}</table>"
