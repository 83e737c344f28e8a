"""ArcGIS headers of BIL, BIP and BSQ files (``NROWS 512`` …), as the ENVI keys they mean.

Padding (``BANDROWBYTES``, ``TOTALROWBYTES``, ``BANDGAPBYTES``) is ignored: the size of the data
file is checked anyway, and real headers carry row lengths of other files.
"""

from __future__ import annotations

from pathlib import Path

from carl.io.reader import starts_with

_KEYS = {
    "NROWS": "lines",
    "NCOLS": "samples",
    "NBANDS": "bands",
    "LAYOUT": "interleave",
    "SKIPBYTES": "header offset",
    "NODATA": "data ignore value",
}
_ENVI_TYPES = {
    ("8", "U"): "1",
    ("16", "U"): "12",
    ("16", "S"): "2",
    ("32", "U"): "13",
    ("32", "S"): "3",
    ("32", "F"): "4",
    ("64", "F"): "5",
}


def is_arcgis_header(path: Path) -> bool:
    """Whether the file begins like an ArcGIS header."""
    keys = ("BYTEORDER", "LAYOUT", "NROWS", "NCOLS", "NBANDS", "NBITS")
    return starts_with(path, *(key.encode() for key in keys))


def envi_keys(text: str) -> dict[str, str | list[str]]:
    """The header as ENVI keys: one key and its value a line, wavelengths (nm) in a block of lines.

    Args:
        text: the whole header.
    """
    header: dict[str, str | list[str]] = {"interleave": "bil"}
    words: dict[str, str] = {}
    wavelengths: list[str] | None = None
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key.upper() == "WAVELENGTHS":
            wavelengths = []
        elif key.upper() == "WAVELENGTHS_END":
            header["wavelength"] = wavelengths or []
            wavelengths = None
        elif wavelengths is not None:
            wavelengths.append(key)
        else:
            words[key.upper()] = value.strip()
    header.update({_KEYS[key]: value for key, value in words.items() if key in _KEYS})
    header["byte order"] = "1" if words.get("BYTEORDER", "I").upper().startswith("M") else "0"
    sign = {"SIGNEDINT": "S", "FLOAT": "F"}.get(words.get("PIXELTYPE", "").upper(), "U")
    header["data type"] = _ENVI_TYPES.get((words.get("NBITS", "8"), sign), "unknown")
    return header
