"""NumPy on spectra: one scale, one grid of wavelengths, colours."""
