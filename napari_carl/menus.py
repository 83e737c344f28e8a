"""Commands of napari's menu Layers: the dock, and its offers for the selected layer."""

from __future__ import annotations

from napari.utils.notifications import show_info
from napari.viewer import Viewer

from napari_carl.offers import Offers

_NO_LABELS = "Select a Labels layer of your own first, and open the cube that it belongs to."
_NO_IMAGE = "Select an image first that has three axes, one of them of bands, and is no cube yet."


def segment(viewer: Viewer) -> None:
    """Open the dock, which segments the selected cube."""
    _open_offers(viewer)


def use_as_strokes(viewer: Viewer) -> None:
    """Add the selected labels to the strokes."""
    offers = _open_offers(viewer)
    if offers.fitting_labels is None:
        show_info(offers.problem or _NO_LABELS)
    offers.use_as_strokes()


def use_as_truth(viewer: Viewer) -> None:
    """Compare the map with the selected labels."""
    offers = _open_offers(viewer)
    if offers.fitting_labels is None:
        show_info(offers.problem or _NO_LABELS)
    offers.use_as_truth()


def use_as_cube(viewer: Viewer) -> None:
    """Open the selected image as a cube."""
    offers = _open_offers(viewer)
    if offers.image is None:
        show_info(_NO_IMAGE)
    offers.use_as_cube()


def _open_offers(viewer: Viewer) -> Offers:
    """Open the dock if it is closed, and return what it offers for the selected layer."""
    selected = viewer.layers.selection.active
    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    viewer.layers.selection.active = selected  # a dock that opens selects the strokes
    offers: Offers = dock.offers
    return offers
