"""Rows of the first step about a file: which cube to open, what else it holds, how it was read."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QComboBox, QFrame, QSizePolicy, QWidget

from napari_carl.connections import Connections
from napari_carl.opening import Opening
from napari_carl.panels.offers import OfferRow, quoted
from napari_carl.panels.widgets import breakable, button, column, label, row
from napari_carl.session import Session

_MAX_LABELS = 3
"""Most label maps of a file that are offered."""


class ChoiceForm(QFrame):
    """Asks which of the cubes that a file may be is to be opened; hidden if there is no choice."""

    def __init__(self, opening: Opening, connections: Connections) -> None:
        super().__init__()
        self.setProperty("role", "box")
        self._opening = opening
        self.text = label("", wrap=True)
        self.choice = QComboBox()
        self.choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.open = button("Open", tip="Open the chosen cube")
        self.open.clicked.connect(lambda: opening.choose(self.choice.currentIndex()))
        cancel = button("Cancel", "quiet", "Do not open the file")
        cancel.clicked.connect(opening.cancel)
        layout = column(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(self.text)
        layout.addWidget(self.choice)
        layout.addLayout(row(self.open, cancel, QWidget(), stretch=2))
        connections.connect(opening.changed, self._show)
        self._show()

    def _show(self) -> None:
        pending = self._opening.pending
        self.setVisible(pending is not None)
        if pending is not None:
            self.text.setText(f"{breakable(pending.error.problem)}. Choose one:")
            self.choice.clear()
            self.choice.addItems([each.description for each in pending.error.choices])


class FileOffer(OfferRow):
    """Offers to register the bands of the current cube, and to open the label maps in its file."""

    def __init__(self, opening: Opening, session: Session, connections: Connections) -> None:
        self._session = session
        self.register = button(
            "Register bands",
            tip="Shift the bands so that they fit each other; the result is a further cube",
        )
        self.register.clicked.connect(opening.register)
        self.labels = [button("", tip="Add these labels as a layer") for _ in range(_MAX_LABELS)]
        for index, each in enumerate(self.labels):
            each.clicked.connect(partial(self._open, opening, index))
        super().__init__([self.register], self.labels)
        connections.connect(session.cube_changed, self._show)
        self._show()

    def _variables(self) -> tuple[str, ...]:
        cube = self._session.cube
        return () if cube is None else tuple(cube.metadata.get("label_variables", ()))

    def _open(self, opening: Opening, index: int) -> None:
        opening.open_labels(self._variables()[index])

    def _show(self) -> None:
        cube, variables = self._session.cube, self._variables()[:_MAX_LABELS]
        shown = self.labels[: len(variables)]
        for each, variable in zip(shown, variables, strict=True):
            each.setText(f"Open {quoted(variable)}")
        text = "The file also holds label maps." if variables else ""
        if cube is not None and "unregistered" in cube.metadata:
            shown = [self.register, *shown]
        self.show_offer(text, shown)


class Assumptions(QWidget):
    """How the file of the current cube was read, a line for each decision; folded at first."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self.text = label("", "muted", wrap=True)
        self.text.hide()
        self.unfold = button("How it was read", "quiet", "What the program understood or assumed")
        self.unfold.clicked.connect(lambda: self.text.setVisible(self.text.isHidden()))
        layout = column(self, spacing=4)
        layout.addLayout(row(self.unfold, QWidget(), stretch=1))
        layout.addWidget(self.text)
        connections.connect(session.cube_changed, self._show)
        self._show()

    def _show(self) -> None:
        cube = self._session.cube
        sentences = () if cube is None else cube.metadata.get("assumptions", ())
        self.text.setText("\n".join(map(breakable, sentences)))
        self.setVisible(bool(sentences))
