"""Step 4: map from strokes, fine-tuning of the network, saved models."""

from __future__ import annotations

from pathlib import Path

from magicgui.widgets import ComboBox, SpinBox
from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QCheckBox, QFileDialog, QSizePolicy, QWidget

from napari_carl.connections import Connections
from napari_carl.feature_jobs import N_TUNING_STEPS
from napari_carl.jobs import JobKind
from napari_carl.offers import Offers
from napari_carl.panels.offers import TruthOffer
from napari_carl.panels.plots import CurvePlot
from napari_carl.panels.theme import Colours
from napari_carl.panels.widgets import (
    JobBar,
    JobMessage,
    LazyComboBox,
    button,
    caption,
    column,
    form,
    label,
    row,
    separator,
)
from napari_carl.session import Session
from napari_carl.steps import (
    describe_fine_tuning,
    describe_model,
    describe_network,
    network_options,
)

_TUNE = [("Last blocks", "last_blocks"), ("LoRA adapters", "lora"), ("Whole network", "full")]
_FILTER = "CARL models (*.carl)"


class LearnPanel(QWidget):
    """Computes the map, fine-tunes the network, saves and loads models."""

    def __init__(self, session: Session, offers: Offers, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._segment = button(
            "Segment", "primary", "Compute a map of the whole cube from the strokes"
        )
        self._segment.clicked.connect(session.segment)
        self._automatic = QCheckBox("Automatic")
        self._automatic.setToolTip("Update the map after every stroke")
        self._automatic.setChecked(session.automatic)
        self._automatic.toggled.connect(session.set_automatic)
        self._device = label("", "muted")
        self._tune = ComboBox(
            label="Fine-tune",
            choices=_TUNE,
            tooltip="Part of the network to train on the strokes",
        )
        self._steps = SpinBox(
            label="Steps",
            value=N_TUNING_STEPS,
            min=1,
            max=100_000,
            tooltip="Number of training steps",
        )
        self._form = form(self._tune, self._steps)
        self._start = button(
            "Start",
            tip="Train the network on the strokes; the result is used only if it classifies "
            "held-out strokes better",
        )
        self._start.clicked.connect(lambda: session.fine_tune(self._tune.value, self._steps.value))
        self._curve = CurvePlot()
        self._legend = label("", "muted")
        self._outcome = label("", "value", wrap=True)
        self._save = button("Save …", tip="Save the model for other cubes and for 'carl predict'")
        self._save.clicked.connect(self._on_save)
        self._load = button("Load …", tip="Segment this cube with a saved model or a trained head")
        self._load.clicked.connect(self._on_load)
        layout = column(self, spacing=8)
        layout.addWidget(TruthOffer(offers, connections))
        layout.addWidget(NetworkChoice(session, connections))
        layout.addLayout(row(self._segment, self._automatic, QWidget(), self._device, stretch=2))
        layout.addWidget(JobBar(session.jobs, JobKind.SEGMENTING, connections))
        segmenting = (JobKind.PRECOMPUTING, JobKind.SEGMENTING)
        layout.addWidget(JobMessage(session.jobs, connections, *segmenting))
        layout.addWidget(separator())
        tuning = row(self._form.native, self._start, stretch=0)
        tuning.setAlignment(self._start, Qt.AlignmentFlag.AlignBottom)
        layout.addLayout(tuning)
        layout.addWidget(JobBar(session.jobs, JobKind.FINE_TUNING, connections))
        layout.addWidget(JobMessage(session.jobs, connections, JobKind.FINE_TUNING))
        layout.addWidget(self._legend)
        layout.addWidget(self._curve)
        layout.addWidget(self._outcome)
        layout.addWidget(separator())
        layout.addLayout(row(caption("Model"), self._save, self._load, QWidget(), stretch=3))
        self._saved = JobMessage(session.jobs, connections, JobKind.SAVING)
        layout.addWidget(self._saved)
        layout.addWidget(LoadedModelRow(session, connections))
        for signal in (
            session.cube_changed,
            session.strokes_changed,
            session.model_changed,
            session.features_changed,
            session.segmentation_changed,
            session.jobs.changed,
        ):
            connections.connect(signal, self._refresh)
        connections.connect(session.automatic_changed, self._on_automatic)
        connections.connect(session.predictor_saved, self._on_saved)
        connections.connect(session.cube_changed, self._on_fine_tuning)
        connections.connect(session.fine_tuning_changed, self._on_fine_tuning)
        self._refresh()
        self._on_fine_tuning()

    def set_colours(self, colours: Colours) -> None:
        """Apply the colours of a theme to the curve."""
        self._curve.set_colours(colours)
        self._legend.setText(
            f"<span style='color:{colours.muted}'>━</span> loss &nbsp; "
            f"<span style='color:{colours.accent}'>━</span> mIoU on held-out strokes"
        )

    def _on_automatic(self, automatic: bool) -> None:
        self._automatic.setChecked(automatic)

    def _refresh(self) -> None:
        session = self._session
        tuning = session.jobs.state(JobKind.FINE_TUNING) is not None
        self._segment.setEnabled(session.can_segment)
        self._start.setEnabled(session.can_fine_tune and not tuning)
        self._form.enabled = not tuning
        self._save.setEnabled(session.predictor is not None)
        self._load.setEnabled(session.has_wavelengths)
        self._device.setText(session.network.device)

    def _on_fine_tuning(self) -> None:
        run = self._session.fine_tuning
        steps = () if run is None else tuple(run.steps)  # a copy: another thread appends to it
        for widget in (self._curve, self._legend):
            widget.setVisible(bool(steps))
        if steps:
            self._curve.show_run(
                [step.step for step in steps],
                [step.loss for step in steps],
                [step.validation for step in steps],
            )
        outcome = describe_fine_tuning(self._session)
        self._outcome.setText(outcome)
        self._outcome.setVisible(bool(outcome))

    def _on_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the model", "model.carl", _FILTER)
        if not path:
            return
        self._saved.clear()
        target = with_model_suffix(Path(path))
        if target != Path(path) and target.exists():  # the dialog has asked about another name
            self._saved.show_message(
                f"{target.name} exists: choose this name in the dialog to replace it.", "warning"
            )
            return
        self._session.save_predictor(target)

    def _on_saved(self, path: Path) -> None:
        self._saved.show_message(f"Model saved to {path}.")

    def _on_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a model", "", _FILTER)
        if path:
            self._session.load_predictor(Path(path))


def with_model_suffix(path: Path) -> Path:
    """Return a path that ends in .carl; other parts of the name with a dot are kept."""
    return path if path.suffix.lower() == ".carl" else path.with_name(f"{path.name}.carl")


class LoadedModelRow(QWidget):
    """Shows the loaded model, and asks how to combine it with strokes of other classes."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._text = label("", "value", wrap=True)
        self._unload = button("Unload", "quiet", "Segment from the strokes alone")
        self._unload.clicked.connect(session.unload_model)
        self._by_name = button("Keep my classes", tip="Match the classes by name, and add the rest")
        self._by_name.clicked.connect(lambda: session.accept_model(by_name=True))
        self._by_value = button(
            "Use the model's classes", tip="Give strokes the model's class of the same number"
        )
        self._by_value.clicked.connect(lambda: session.accept_model(by_name=False))
        self._cancel = button("Cancel", "quiet", "Do not load the model")
        self._cancel.clicked.connect(session.reject_model)
        self._choice = QWidget()
        self._choice.setLayout(row(self._by_name, self._by_value, self._cancel))
        layout = column(self, spacing=4)
        layout.addWidget(JobBar(session.jobs, JobKind.LOADING, connections))
        layout.addLayout(row(self._text, self._unload, stretch=0))
        layout.addWidget(self._choice)
        connections.connect(session.model_changed, self._show)
        self._show()

    def _show(self) -> None:
        pending, model = self._session.pending_model, self._session.model
        self._text.setText(describe_model(self._session))
        self._text.setVisible(pending is not None or model is not None)
        self._unload.setVisible(pending is None and model is not None)
        self._choice.setVisible(pending is not None)


class NetworkChoice(QWidget):
    """Chooses the network; networks that need a download are listed, but not downloaded."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._choice = LazyComboBox()
        self._choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choice.about_to_open.connect(self._list_networks)
        self._choice.activated.connect(self._on_chosen)
        self._notice = label("", "warning", wrap=True)
        layout = column(self, spacing=4)
        layout.addLayout(row(caption("Network"), self._choice, stretch=1))
        layout.addWidget(self._notice)
        connections.connect(session.features_changed, self._show)
        self._show()

    def _show(self) -> None:
        text, notice = describe_network(self._session)
        self._choice.clear()
        self._choice.addItem(text)
        self._notice.setText(notice)
        self._notice.setVisible(bool(notice))

    def _list_networks(self) -> None:
        """List all networks; only those on this computer can be chosen."""
        self._choice.clear()
        items = self._choice.model()
        assert isinstance(items, QStandardItemModel)
        for index, offer in enumerate(network_options()):
            self._choice.addItem(offer.text, offer.name)
            self._choice.setItemData(index, offer.tip, Qt.ItemDataRole.ToolTipRole)
            item = items.item(index)
            assert item is not None
            item.setEnabled(offer.is_available)
            if offer.name == self._session.network.name:
                self._choice.setCurrentIndex(index)

    def _on_chosen(self, index: int) -> None:
        name = self._choice.itemData(index)
        network = self._session.network
        if name is not None and (name != network.name or network.is_tuned):
            self._session.choose_network(name)
        self._show()
