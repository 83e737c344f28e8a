"""Spectra in NumPy: statistics and normalisation, resampling to other wavelengths, colours."""
