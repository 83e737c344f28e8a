"""napari plugin for the segmentation of spectral cubes, over the library `carl`."""
