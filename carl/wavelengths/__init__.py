"""Wavelengths in nanometres: units, checks, typed ranges, tables and presets of known cameras."""

from __future__ import annotations

from carl.wavelengths.presets import Camera, camera, cameras
from carl.wavelengths.tables import read_wavelength_table
from carl.wavelengths.typed import example_text, parse_wavelengths
from carl.wavelengths.units import (
    BandTable,
    check_wavelengths,
    describe_wavelengths,
    to_nm,
    unit_symbol,
    unusual_wavelengths,
    wavelengths_in_nm,
    widths_to_nm,
)

__all__ = [
    "BandTable",
    "Camera",
    "camera",
    "cameras",
    "check_wavelengths",
    "describe_wavelengths",
    "example_text",
    "parse_wavelengths",
    "read_wavelength_table",
    "to_nm",
    "unit_symbol",
    "unusual_wavelengths",
    "wavelengths_in_nm",
    "widths_to_nm",
]
