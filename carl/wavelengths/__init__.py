"""Wavelengths in nanometres: units, checks, typed ranges, tables and presets of known cameras."""

from __future__ import annotations

from carl.wavelengths.presets import Camera, FilterArray, camera, cameras, shipped_cameras
from carl.wavelengths.tables import read_wavelength_table
from carl.wavelengths.typed import example_text, parse_wavelengths
from carl.wavelengths.units import (
    BandTable,
    check_wavelengths,
    describe_wavelengths,
    raman_to_nm,
    to_nm,
    unit_symbol,
    unusual_wavelengths,
    wavelengths_in_nm,
    widths_to_nm,
)

__all__ = [
    "BandTable",
    "Camera",
    "FilterArray",
    "camera",
    "cameras",
    "check_wavelengths",
    "describe_wavelengths",
    "example_text",
    "parse_wavelengths",
    "raman_to_nm",
    "read_wavelength_table",
    "shipped_cameras",
    "to_nm",
    "unit_symbol",
    "unusual_wavelengths",
    "wavelengths_in_nm",
    "widths_to_nm",
]
