"""Step 4: from strokes to a map, and training of the network itself when that is not enough."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLabel, QSizePolicy, QWidget

from napari_carl.jobs import JobKind
from napari_carl.panels.parts import JobBar, LazyComboBox, button, column, label, line, row
from napari_carl.panels.plots import CurvePlot
from napari_carl.panels.theme import Colours
from napari_carl.session import Session
from napari_carl.steps import describe_fine_tuning, describe_network, offered_networks

_MODES = {"head": "Last blocks", "lora": "LoRA adapters", "full": "Whole network"}
_CAPTION_WIDTH = 58
_FILTER = "CARL models (*.carl)"


class LearnPanel(QWidget):
    """Makes the map, fine-tunes the network, saves and loads what makes the map."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._learn = button("Learn", "primary", "Make a map of the whole cube from the strokes")
        self._learn.clicked.connect(session.learn)
        self._automatic = QCheckBox("Automatic")
        self._automatic.setToolTip("Make a new map whenever the strokes change")
        self._automatic.setChecked(session.automatic)
        self._automatic.toggled.connect(session.set_automatic)
        self._network = NetworkChoice(session)
        self._device = label("", "muted")
        self._progress = JobBar()
        self._mode = QComboBox()
        self._mode.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for mode, name in _MODES.items():
            self._mode.addItem(name, mode)
        self._tune = button("Start", tip="Train the network itself on the strokes")
        self._tune.clicked.connect(lambda: session.fine_tune(self._mode.currentData()))
        self._tuning = JobBar()
        self._curve = CurvePlot()
        self._legend = label("", "muted")
        self._verdict = label("", "value", wrap=True)
        self._save = button("Save …", tip="For other cubes, and for carl predict")
        self._save.clicked.connect(self._on_save)
        self._load = button("Load …", tip="Map this cube with a saved model or a trained head")
        self._load.clicked.connect(self._on_load)
        self._lay_out()
        self._progress.cancelled.connect(lambda: session.jobs.cancel(JobKind.SEGMENTING))
        self._tuning.cancelled.connect(lambda: session.jobs.cancel(JobKind.FINE_TUNING))
        session.jobs.changed.connect(self._on_task)
        for signal in (session.cube_changed, session.strokes_changed, session.network.changed):
            signal.connect(self._refresh)
        session.segmentation_changed.connect(self._refresh)
        session.cube_changed.connect(self._on_fine_tuning)
        session.fine_tuning_changed.connect(self._on_fine_tuning)
        self._refresh()
        self._on_fine_tuning()

    def set_colours(self, colours: Colours) -> None:
        """Draw the curve in the colours of a theme."""
        self._curve.set_colours(colours)
        self._legend.setText(
            f"<span style='color:{colours.muted}'>━</span> loss &nbsp; "
            f"<span style='color:{colours.accent}'>━</span> mIoU on held-out strokes"
        )

    def _lay_out(self) -> None:
        layout = column(self, spacing=8)
        layout.addWidget(self._network)
        layout.addLayout(row(self._learn, self._automatic, QWidget(), self._device, stretch=2))
        layout.addWidget(self._progress)
        layout.addWidget(line())
        layout.addLayout(row(_caption("Fine-tune"), self._mode, self._tune, stretch=1))
        layout.addWidget(self._tuning)
        layout.addWidget(self._legend)
        layout.addWidget(self._curve)
        layout.addWidget(self._verdict)
        layout.addWidget(line())
        layout.addLayout(row(_caption("Model"), self._save, self._load, QWidget(), stretch=3))

    def _refresh(self) -> None:
        session = self._session
        tuning = session.jobs.state(JobKind.FINE_TUNING) is not None
        self._learn.setEnabled(session.can_learn)
        self._tune.setEnabled(
            session.can_learn and session.network.features is not None and not tuning
        )
        self._mode.setEnabled(not tuning)
        self._save.setEnabled(session.exports.segmenter is not None)
        self._load.setEnabled(session.has_wavelengths)
        self._device.setText(session.network.device)

    def _on_task(self, task: str) -> None:
        bars = {JobKind.SEGMENTING: self._progress, JobKind.FINE_TUNING: self._tuning}
        if task in bars:
            bars[JobKind(task)].show_state(self._session.jobs.state(JobKind(task)))
            self._refresh()

    def _on_fine_tuning(self) -> None:
        run = self._session.fine_tuning
        steps = () if run is None else tuple(run.steps)  # they grow in another thread
        for widget in (self._curve, self._legend):
            widget.setVisible(bool(steps))
        if steps:
            self._curve.show_run(
                [step.step for step in steps],
                [step.loss for step in steps],
                [step.validation for step in steps],
            )
        verdict = describe_fine_tuning(self._session)
        self._verdict.setText(verdict)
        self._verdict.setVisible(bool(verdict))

    def _on_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the model", "model.carl", _FILTER)
        if path:
            self._session.exports.save_segmenter(Path(path).with_suffix(".carl"))

    def _on_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a model", "", _FILTER)
        if path:
            self._session.load_predictor(Path(path))


class NetworkChoice(QWidget):
    """Chooses the network; those that are not here yet say how they are had. Nothing is fetched."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._choice = LazyComboBox()
        self._choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choice.about_to_open.connect(self._offer)
        self._choice.activated.connect(self._on_chosen)
        self._notice = label("", "warning", wrap=True)
        layout = column(self, spacing=4)
        layout.addLayout(row(_caption("Network"), self._choice, stretch=1))
        layout.addWidget(self._notice)
        session.network.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        text, notice = describe_network(self._session)
        self._choice.clear()
        self._choice.addItem(text)
        self._notice.setText(notice)
        self._notice.setVisible(bool(notice))

    def _offer(self) -> None:
        """List the networks as they are on this computer now."""
        self._choice.clear()
        for index, offer in enumerate(offered_networks()):
            self._choice.addItem(offer.text, offer.name)
            self._choice.setItemData(index, offer.tip, Qt.ItemDataRole.ToolTipRole)
            self._choice.model().item(index).setEnabled(offer.is_here)
            if offer.name == self._session.network.name:
                self._choice.setCurrentIndex(index)

    def _on_chosen(self, index: int) -> None:
        name = self._choice.itemData(index)
        if name is not None and name != self._session.network.name:
            self._session.choose_network(name)
        self._show()


def _caption(text: str) -> QLabel:
    made = label(text, "muted")
    made.setFixedWidth(_CAPTION_WIDTH)
    return made
