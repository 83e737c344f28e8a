"""Rows that offer what can be done with the selected layer, each at the top of its step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qtpy.QtWidgets import QPushButton, QWidget

from napari_carl.connections import Connections
from napari_carl.offers import Offers
from napari_carl.panels.widgets import button, column, label, row
from napari_carl.steps import (
    describe_image,
    describe_pending_strokes,
    describe_scores,
    describe_truth,
)

_MAX_NAME = 16
"""Most characters of a layer's name on a button."""


class OfferRow(QWidget):
    """A line of text and lines of buttons; hidden if there is nothing to show."""

    def __init__(self, *lines: Sequence[QPushButton]) -> None:
        super().__init__()
        self._buttons = [each for line in lines for each in line]
        self._text = label("", "muted", wrap=True)
        layout = column(self, spacing=4)
        layout.addWidget(self._text)
        for line in lines:
            layout.addLayout(row(*line, QWidget(), stretch=len(line)))

    def show_offer(self, text: str, buttons: Collection[QPushButton] = ()) -> None:
        """Show a text, which may be empty, and some of the buttons."""
        self._text.setText(text)
        self._text.setVisible(bool(text))
        for each in self._buttons:
            each.setVisible(each in buttons)
        self.setVisible(bool(text) or bool(buttons))


class CubeOffer(OfferRow):
    """Offers to open the selected image as a cube."""

    def __init__(self, offers: Offers, connections: Connections) -> None:
        self._offers = offers
        self._use = button("", tip="Open this image as a cube; its layer stays, but is hidden")
        self._use.clicked.connect(offers.use_as_cube)
        super().__init__([self._use])
        connections.connect(offers.changed, self._show)
        self._show()

    def _show(self) -> None:
        image = self._offers.image
        if image is None:
            self.show_offer("")
        else:
            self._use.setText(f"Use {quoted(image.name)} as cube")
            self.show_offer(describe_image(image), [self._use])


class StrokesOffer(OfferRow):
    """Offers to add the selected labels to the strokes, and asks which classes to use."""

    def __init__(self, offers: Offers, connections: Connections) -> None:
        self._offers = offers
        self._use = button("", tip="Add these labels to the strokes where nothing is labelled")
        self._use.clicked.connect(offers.use_as_strokes)
        self._by_name = button(
            "Keep my classes", tip="Match the classes by name, and add the rest with free numbers"
        )
        self._by_name.clicked.connect(lambda: offers.add_pending(by_name=True))
        self._by_value = button(
            "Use its classes", tip="Name the classes of equal number as in this layer"
        )
        self._by_value.clicked.connect(lambda: offers.add_pending(by_name=False))
        self._cancel = button("Cancel", "quiet", "Do not use the labels")
        self._cancel.clicked.connect(offers.drop_pending)
        super().__init__([self._use], [self._by_name, self._by_value, self._cancel])
        connections.connect(offers.changed, self._show)
        self._show()

    def _show(self) -> None:
        offers, labels = self._offers, self._offers.fitting_labels
        if offers.pending is not None:
            choice = (self._by_name, self._by_value, self._cancel)
            self.show_offer(describe_pending_strokes(offers.pending), choice)
        elif labels is not None:
            self._use.setText(f"Use {quoted(labels.name)} as strokes")
            self.show_offer("", [self._use])
        else:
            self.show_offer(offers.problem)


class TruthOffer(OfferRow):
    """Offers to compare the map with the selected labels, and shows the score."""

    def __init__(self, offers: Offers, connections: Connections) -> None:
        self._offers = offers
        self._use = button("", tip="Score every complete map against these labels")
        self._use.clicked.connect(offers.use_as_truth)
        self._remove = button("Stop comparing", "quiet", "Compare the map with nothing")
        self._remove.clicked.connect(offers.truth.remove)
        super().__init__([self._use], [self._remove])
        connections.connect(offers.changed, self._show)
        self._show()

    def _show(self) -> None:
        labels, truth = self._offers.fitting_labels, self._offers.truth
        buttons = []
        if labels is not None and (truth.labels is None or truth.labels.layer != labels.layer):
            self._use.setText(f"Use {quoted(labels.name)} as truth")
            buttons.append(self._use)
        if truth.labels is not None:
            buttons.append(self._remove)
        self.show_offer(describe_truth(truth), buttons)
        self.setToolTip(describe_scores(truth))


def quoted(name: str) -> str:
    """Return the name of a layer for a button, shortened in the middle."""
    if len(name) > _MAX_NAME:
        half = _MAX_NAME // 2
        name = f"{name[: half - 1]}…{name[-half:]}"
    return f"'{name.replace('&', '&&')}'"  # Qt takes a single & for a key
