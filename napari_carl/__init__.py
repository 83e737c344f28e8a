"""From a few strokes to a map: the CARL dock for napari, a thin layer over the library `carl`."""
