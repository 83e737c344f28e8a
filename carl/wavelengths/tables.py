"""Tables of wavelengths in text files: columns, units, decimal commas, with or without a header."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from carl.arrays import Float64Array
from carl.errors import WavelengthError
from carl.wavelengths.typed import only_reading
from carl.wavelengths.units import (
    UNIT,
    BandTable,
    to_nm,
    unit_symbol,
    wavelengths_in_nm,
    widths_to_nm,
)

_MAX_BYTES = 2**20
"""Largest table that is read: 50 000 bands. Larger files beside a cube are other data."""

_CENTRE_NAME = re.compile(r"wave|cent(?:re|er|roid)|lambda|λ|(?<![a-z])wl(?![a-z])")
_WIDTH_NAME = re.compile(r"fwhm|width")
_RAMAN_NAME = re.compile(r"raman")
_WAVENUMBER_NAME = re.compile(r"wave\s*_?number")
_UNAMBIGUOUS = "with decimal points, or name its columns in a first line, as wavelength_nm,fwhm_nm"
_TWO_NUMBERS = re.compile(r"^[\d.]++\s++[\d.]++$")
_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:e[+-]?\d++)?", re.IGNORECASE)


def read_wavelength_table(path: str | Path) -> BandTable:
    """Read wavelengths and, if present, filter widths (FWHM) from a text table.

    One band per line: the wavelength alone, or several columns separated by comma, semicolon, tab
    or space. A header may name them: the column with "wave", "centre" or "lambda" in its name holds
    the wavelengths, one with "fwhm" or "width" the widths, and a unit in a name, as in
    ``wavelength_um``, or behind each number, applies. Without names, the only column that can hold
    wavelengths is used, so that a column of band numbers is passed over; without a unit, it is
    recognised by `wavelengths_in_nm`. Decimal commas are recognised. One line with all wavelengths
    is read as well. Lines that start with # are comments.

    Raises:
        WavelengthError: the file cannot be read as such a table, or can be read in two ways.
    """
    path = Path(path)
    lines = _lines(path)
    read: list[tuple[_Table, BandTable]] = []
    failures: list[WavelengthError] = []
    for delimiter, decimal_mark in _conventions(lines):
        try:
            table = _split(lines, delimiter, decimal_mark)
            read.append((table, _bands(table, path.name)))
        except WavelengthError as error:
            failures.append(error)
    if not read:
        raise WavelengthError(f"{path.name}: {failures[0]}") from failures[0]
    # A first column 1, 2, 3, … is one of band numbers, not the whole part of decimal numbers.
    counted = [(table, bands) for table, bands in read if _counts(table)]
    ways = counted or read
    if len(ways) == 1 and _may_split_numbers(ways[0][0], lines):
        raise WavelengthError(
            f"{path.name} has commas that may be decimal commas or separate columns: write it "
            f"{_UNAMBIGUOUS}."
        )
    return only_reading([bands for _, bands in ways], path.name, _UNAMBIGUOUS)


@dataclass(frozen=True)
class _Table:
    """Cells of a table, all rows of one length.

    Attributes:
        delimiter: what separates the columns; None for white space.
        header: names of the columns in lower case; empty where there is no header.
        columns: for each column its numbers, (rows,), or None if it holds text.
        units: for each column the unit behind its numbers, or None.
    """

    delimiter: str | None
    header: tuple[str, ...]
    columns: tuple[Float64Array | None, ...]
    units: tuple[str | None, ...]


def table_comments(path: str | Path) -> list[str]:
    """Return the comments of a table, the lines that start with #, without it.

    Raises:
        WavelengthError: the file cannot be read as a text.
    """
    lines = [line.strip() for line in _text(Path(path)).splitlines()]
    return [line.lstrip("# ") for line in lines if line.startswith("#")]


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that are neither empty nor comments."""
    text = _text(path)
    lines = [line.strip(" \r\n") for line in text.splitlines()]
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if lines and re.fullmatch(r"\"?sep=.\"?", lines[0], re.IGNORECASE):  # written by Excel
        del lines[0]
    if not lines or "\0" in text:
        what = "is not a text" if lines else "is empty"
        raise WavelengthError(f"{path.name} {what}: give one wavelength per line, in nm.")
    return lines


def _text(path: Path) -> str:
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for ever
        raise WavelengthError(
            f"{path.name} is not a file: give a CSV with one wavelength per line, in nm."
        )
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise WavelengthError(
            f"{path.name} cannot be opened ({error.strerror or error}): give a CSV with one "
            "wavelength per line, in nm."
        ) from error
    if len(raw) > _MAX_BYTES:
        raise WavelengthError(
            f"{path.name} is larger than 1 MiB: give a CSV with one wavelength per line, in nm."
        )
    return _decoded(raw)


def _decoded(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # Excel in western Europe: µ is one byte


def _conventions(lines: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Yield the delimiters (None for white space) and decimal marks a table can have."""
    has_decimal_comma = any(re.search(r"\d,\d", line) for line in lines)
    for delimiter in ("\t", ";"):
        if any(delimiter in line for line in lines):
            yield delimiter, "," if has_decimal_comma else "."
            return
    if any("," in line for line in lines):
        yield ",", "."
        if has_decimal_comma:
            yield None, ","
    else:
        yield None, "."


def _split(lines: Sequence[str], delimiter: str | None, decimal_mark: str) -> _Table:
    rows = [_cells(line, delimiter) for line in lines]
    parsed = [[_number(cell, decimal_mark) for cell in row] for row in rows]
    n_header = next(
        (index for index, row in enumerate(parsed) if any(cell is not None for cell in row)), None
    )
    if n_header is None:
        raise WavelengthError("it holds no numbers: give one wavelength per line, in nm.")
    data = parsed[n_header:]
    n_columns = len(data[0])
    for index, row in enumerate(data, start=n_header):
        if len(row) != n_columns:
            raise WavelengthError(
                f"the line '{lines[index][:40]}' has {len(row)} columns instead of {n_columns}: "
                "give the same columns in all lines."
            )
    if len(data) == 1 and n_columns > 2 and None not in data[0]:  # all wavelengths in one line
        data, n_header, n_columns = [[cell] for cell in data[0]], 0, 1
    header = _header(rows[:n_header], lines, n_columns, delimiter)
    columns: list[Float64Array | None] = []
    units: list[str | None] = []
    for index, column in enumerate(zip(*data, strict=True)):
        cells = [cell for cell in column if cell is not None]
        named = _CENTRE_NAME.search(header[index]) if header else n_columns == 1
        if named and len(cells) < len(column):
            missing = column.index(None)
            raise WavelengthError(
                f"the line '{lines[n_header + missing][:40]}' has no number for the "
                "wavelength: give one wavelength per line, in nm."
            )
        found = {unit for _, unit in cells if unit}
        if len(found) > 1:
            raise WavelengthError(
                f"it has the units {' and '.join(sorted(found))} in one column: use one of them."
            )
        is_number = len(cells) == len(column)
        columns.append(np.array([number for number, _ in cells]) if is_number else None)
        units.append(found.pop() if found else None)
    return _Table(delimiter, header, tuple(columns), tuple(units))


def _header(
    rows: Sequence[list[str]], lines: Sequence[str], n_columns: int, delimiter: str | None
) -> tuple[str, ...]:
    """Return the names of the columns in lower case: those of all lines above the numbers, joined.

    Raises:
        WavelengthError: the names are those of other columns than the numbers have.
    """
    if n_columns == 1 and delimiter is None:  # white space in a name separates no columns
        rows = [[line] for line in lines[: len(rows)]]
    names = [row for row in rows if len(row) == n_columns]
    header = tuple(" ".join(parts).lower() for parts in zip(*names, strict=True))
    for row in rows:
        named = [cell for cell in row if _CENTRE_NAME.search(cell.lower()) or UNIT.search(cell)]
        if named and len(row) != n_columns:
            raise WavelengthError(
                f"its header has {len(row)} columns and its lines {n_columns}: separate the "
                "columns by semicolons, or write decimal points."
            )
    # "Wavelength, nm" above decimal commas names one column, "band,wavelength" two.
    for name, following in pairwise(header):
        if _CENTRE_NAME.search(name) and UNIT.fullmatch(following):
            raise WavelengthError(
                f"'{following}' is named as a column: write the unit as wavelength_{following}."
            )
    if delimiter is None and any(
        "," in name and not UNIT.fullmatch(name.rpartition(",")[2].strip()) for name in header
    ):
        raise WavelengthError("its header has more columns than its lines: give as many names.")
    return header


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        line = re.sub(r"(?<!\s)\s++(?=[(\[])", "_", line)  # "wavelength (nm)"
        line = re.sub(rf"(?<=\d)\s++(?={UNIT.pattern})", "", line, flags=re.IGNORECASE)  # "400 nm"
        return line.split()
    try:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error as error:
        raise WavelengthError("it is not a table: give one wavelength per line, in nm.") from error
    if any(_TWO_NUMBERS.search(cell) for cell in cells):
        raise WavelengthError(
            f"the line '{line[:40]}' has white space and other separators between numbers: "
            "separate the columns by semicolons."
        )
    while len(cells) > 1 and not cells[-1]:
        cells.pop()  # a separator at the end of the line
    return cells


def _number(cell: str, decimal_mark: str) -> tuple[float, str | None] | None:
    """Return the number of a cell and the unit behind it; None if it holds something else."""
    found = UNIT.search(cell)
    unit = None
    if found and found.end() == len(cell):
        cell, unit = cell[: found.start()].rstrip(), unit_symbol(found[0])
    if decimal_mark == ",":
        cell = cell.replace(",", ".") if cell.count(",") <= 1 and "." not in cell else ""
    return (float(cell), unit) if _NUMBER.fullmatch(cell) else None


def _counts(table: _Table) -> bool:
    """Return whether the first of several columns holds 1, 2, 3, … or 0, 1, 2 and so on."""
    first = table.columns[0]
    if first is None or len(table.columns) < 2 or first.size < 2 or first[0] not in (0, 1):
        return False
    return bool(np.array_equal(first, first[0] + np.arange(first.size)))


def _may_split_numbers(table: _Table, lines: Sequence[str]) -> bool:
    """Return whether two unnamed columns may be the two parts of numbers with decimal commas."""
    if table.header or table.delimiter != "," or any("." in line for line in lines):
        return False
    numeric = [column is not None for column in table.columns[_counts(table) :]]
    return any(left and right for left, right in pairwise(numeric))


def _bands(table: _Table, source: str) -> BandTable:
    column = _named_column(table)
    if column is None:
        column = _only_column(table)
    values = table.columns[column]
    if values is None:
        raise WavelengthError(
            f"the column '{table.header[column][:40]}' holds no numbers: give one wavelength per "
            "line, in nm."
        )
    stated = _unit(table, column)
    nm, unit = wavelengths_in_nm(values, stated)
    return BandTable(nm, _widths(table, column, nm), source, unit)


def _named_column(table: _Table) -> int | None:
    """Return the column whose name is that of wavelengths; None if there is none or no header."""
    names = {index: name for index, name in enumerate(table.header) if not _WIDTH_NAME.search(name)}
    centres = [index for index, name in names.items() if _CENTRE_NAME.search(name)]
    if len(centres) > 1:  # such as the first, the last and the central wavelength of each band
        centres = [index for index in centres if "cent" in names[index]] or centres
    if not centres:
        centres = [index for index, name in names.items() if UNIT.search(name)]
    return centres[0] if centres else None


def _only_column(table: _Table) -> int:
    """Return the column that can hold wavelengths; of several, the one in increasing order."""
    fitting: dict[int, Float64Array] = {}
    failures: list[WavelengthError] = []
    for index, values in enumerate(table.columns):
        is_width = bool(table.header) and bool(_WIDTH_NAME.search(table.header[index]))
        if values is not None and not is_width:
            try:
                fitting[index] = wavelengths_in_nm(values, table.units[index])[0]
            except WavelengthError as error:
                failures.append(error)
    if not fitting:
        raise (
            failures[0]
            if failures
            else WavelengthError(
                "it holds no column of numbers: give one wavelength per line, in nm."
            )
        )
    ordered = [
        index for index, nm in fitting.items() if np.all(np.diff(nm) > 0) or np.all(np.diff(nm) < 0)
    ]
    chosen = ordered or list(fitting)
    if any(not np.allclose(fitting[index], fitting[chosen[0]]) for index in chosen[1:]):
        numbers = " and ".join(str(index + 1) for index in chosen)
        raise WavelengthError(
            f"the columns {numbers} can both hold wavelengths: name them in a first line, as "
            "wavelength_nm,fwhm_nm."
        )
    return chosen[0]


def _unit(table: _Table, column: int) -> str | None:
    """Return the unit of a column, in its numbers or its name; None if it is not stated."""
    if table.units[column] is not None or not table.header:
        return table.units[column]
    name = table.header[column]
    if _RAMAN_NAME.search(name):
        return "Raman shift"  # in cm⁻¹, but no wavenumber of the light
    found = UNIT.search(_WAVENUMBER_NAME.sub(" ", name)) or UNIT.search(name)
    if found:
        return found[0]
    return "cm-1" if _WAVENUMBER_NAME.search(name) else None


def _widths(table: _Table, column: int, nm: Float64Array) -> Float64Array | None:
    """Return the widths of a table in nm, in their own unit or that of the wavelengths."""
    for index, name in enumerate(table.header):
        values = table.columns[index]
        if _WIDTH_NAME.search(name) and values is not None:
            own = _unit(table, index)
            centres = table.columns[column]
            assert centres is not None  # it has been converted to nm
            return widths_to_nm(values, centres, nm) if own is None else to_nm(values, own)
    return None
