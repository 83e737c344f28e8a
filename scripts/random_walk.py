"""A random walk of acts of a user in the real window, and what must hold after each of them.

The walk opens and closes three small cubes of different sizes, paints with the mouse and the
keyboard, edits classes and layers, and uses every step of the dock. It remembers the strokes and
the classes of every cube, those of closed ones too. Every failed check is one `Violation`.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import robot

if TYPE_CHECKING:
    from napari import Viewer

    from carl.io import LabelClass
    from napari_carl.annotation import Annotation
    from napari_carl.dock import CarlDock
    from napari_carl.session import Session

SHAPES = {"tissue": (48, 64), "leaf": (40, 60), "organ": (48, 64)}
"""Height and width of the cubes by name."""
N_BANDS = 8
WINDOW = (1100, 700)
"""Size of the window in pixels: small, because drawing takes most of the time without a GPU."""
INVARIANTS = {
    "files": "strokes and classes on disk = those of the session",
    "layer": "strokes in the layer = those of the session",
    "map": "the map shown is that of these strokes and classes, or marked or absent",
    "own acts": "strokes and classes of a cube change by acts on that cube only",
    "undo": "undo and redo restore strokes, classes and model",
    "export": "an export holds what is shown",
    "layers": "no layer of a removed cube, and no layer twice",
    "leaks": "no thread without a job, no dock or window left",
    "errors": "nothing on stderr, no exception, no message of an error",
}
"""What must hold after every act."""

_SETTLING = 600.0
"""Seconds until a wait fails."""
_N_COLLECTIONS = 20
"""Most collections of garbage, with events in between, until a closed dock has gone."""
_N_LISTED = 12
"""Number of acts before a violation that are listed."""
_EXPORTED = "{}_labels.tif"
_NETWORK = {
    "patch_size": 4,
    "spec_encoder_kwargs": {
        "embed_dim": 16, "n_queries": 2, "depth": 1, "num_heads": 2, "layer_scale": None,
    },
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 1},
    },
}  # fmt: skip
"""Configuration of a network that is trained and evaluated in milliseconds."""


class State(NamedTuple):
    """Strokes, classes and model of a cube; equal states are equal in all of it."""

    pixels: bytes
    classes: tuple[LabelClass, ...]
    model: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is labelled."""
        return not any(self.pixels)


@dataclass
class Memory:
    """What the walk remembers of a cube.

    Attributes:
        state: after the last act.
        initial: classes of the cube before anything was restored or edited.
        undo: states that undo restores, the next one last; None where it is unknown.
        redo: states that redo restores.
    """

    state: State
    initial: tuple[LabelClass, ...]
    undo: list[State | None] = field(default_factory=lambda: [None])
    redo: list[State | None] = field(default_factory=list)

    @property
    def is_saved(self) -> bool:
        """Whether there is anything that has to be on disk."""
        return not self.state.is_empty or self.state.classes != self.initial


@dataclass(frozen=True)
class Violation:
    """A failed check.

    Attributes:
        invariant: key of `INVARIANTS`.
        text: what is wrong.
        acts: the last acts before it, the newest last.
    """

    invariant: str
    text: str
    acts: tuple[str, ...]


class Act(NamedTuple):
    """An act of the walk: its name, how often it is chosen, when it is possible, what it does."""

    name: str
    weight: int
    is_possible: Callable[[], bool]
    do: Callable[[], None]


def write_cubes(folder: Path) -> None:
    """Write the cubes of the walk into a folder; their pixels are the same in every walk."""
    from carl.cube import SpectralCube
    from carl.io import write_cube

    generator = np.random.default_rng(0)
    for name, (height, width) in SHAPES.items():
        truth = np.zeros((height, width), int)
        truth[:, width // 2 :] = 1
        spectra = np.array([np.linspace(0.2, 0.8, N_BANDS), np.linspace(0.8, 0.3, N_BANDS)])
        noise = generator.standard_normal((height, width, N_BANDS))
        pixels = (spectra[truth] + 0.02 * noise).astype(np.float32)
        write_cube(
            folder / f"{name}.hdr", SpectralCube(pixels, np.linspace(450, 660, N_BANDS), name=name)
        )


@contextmanager
def tiny_network() -> Iterator[None]:
    """Replace the network of the dock by one that is evaluated in milliseconds."""
    import torch

    from carl.model import CARLConfig, build_model
    from napari_carl import feature_jobs

    torch.manual_seed(0)
    model = build_model(CARLConfig.from_dict(_NETWORK))
    embed_cube = feature_jobs.embed_cube

    def embed(features: Any, network: Any, device: str, progress: Any) -> Iterator[Any]:
        from dataclasses import replace

        chosen = replace(network, model=network.model or model)
        return embed_cube(features, chosen, device, progress)

    feature_jobs.embed_cube = embed
    try:
        yield
    finally:
        feature_jobs.embed_cube = embed_cube


class _Errors:
    """Whatever is written to stderr, raised, or shown as an error in the window."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._file = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - a member
        self._read = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record inside the block."""
        from napari.utils.notifications import notification_manager

        hooks = sys.stderr, sys.excepthook, threading.excepthook
        sys.stderr.flush()
        descriptor = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        sys.stderr = self._file
        sys.excepthook = lambda _, error, __: self._add(error)
        threading.excepthook = lambda arguments: self._add(arguments.exc_value)
        notification_manager.notification_ready.connect(self._on_notification)
        try:
            yield
        finally:
            notification_manager.notification_ready.disconnect(self._on_notification)
            sys.stderr, sys.excepthook, threading.excepthook = hooks
            os.dup2(descriptor, 2)
            os.close(descriptor)

    def take(self) -> list[str]:
        """Return what was found since the last call."""
        self._file.flush()
        written = os.pread(self._file.fileno(), 1 << 20, self._read).decode(errors="replace")
        self._read += len(written.encode())
        found, self.found = self.found, []
        return found + ([f"stderr: {written[-3000:]}"] if written else [])

    def _add(self, error: BaseException | None) -> None:
        import traceback

        self.found.append("".join(traceback.format_exception(error))[-3000:])

    def _on_notification(self, notification: Any) -> None:
        self.found.append(f"message: {notification.message}")


class RandomWalk:
    """Acts at random on a viewer, and checks after each act what must hold.

    Args:
        viewer: with no layers and no dock.
        folder: with the cubes of `write_cubes`; models and exports are written there too.
        seed: of the random choices.
        excluded: names of acts that are not done.

    Attributes:
        acts: the acts so far, with what they acted on.
        violations: the failed checks so far.
    """

    def __init__(
        self, viewer: Viewer, folder: Path, seed: int, excluded: Collection[str] = ()
    ) -> None:
        self.acts: list[str] = []
        self.violations: list[Violation] = []
        self._viewer = viewer
        self._folder = folder
        self._random = random.Random(seed)
        self._errors = _Errors()
        self._memories: dict[str, Memory] = {}
        self._closed_docks: list[weakref.ref[Any]] = []
        self._dock: CarlDock | None = None
        self._target = ""  # name of the cube that the act may change
        self._note = ""
        self._open_dock()
        self._user = robot.UserInput(viewer, self._the_dock.window())
        robot.process_events(0.2)
        self._n_windows = len(_windows())
        self._table = [act for act in self._make_acts() if act.name not in excluded]

    # ---- running

    def run(
        self,
        is_over: Callable[[], bool],
        before: Callable[[str], None] = lambda _: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Act until `is_over` returns True, then settle and check once more.

        Args:
            is_over: called before every act.
            before: called before every act with its name.
            after: called after every act.
        """
        with self._errors.recording():
            while not is_over():
                self._step(before)
                after()
            self.settle()
            self._check("the end", settled=True)

    def close(self) -> None:
        """Close the dock; whatever is left of it then is a violation."""
        with self._errors.recording():
            self._close_dock()
            robot.process_events(0.1)
            self._check_leaks()
            self._check_errors()

    def counts(self) -> dict[str, int]:
        """Return how often each act was done."""
        return dict(Counter(act.split(":")[0] for act in self.acts))

    def open_all(self) -> None:
        """Open all cubes."""
        for name in SHAPES:
            self._start_opening(name)
            self._finish_opening(name)
        self.settle()

    def digests(self) -> dict[str, str]:
        """Return a digest of the strokes and classes of every cube that was opened, by name.

        It is empty for a cube without strokes whose classes were not edited.
        """
        return {
            name: digest(memory.state.pixels, memory.state.classes) if memory.is_saved else ""
            for name, memory in self._memories.items()
        }

    def states(self) -> dict[str, State]:
        """Return the states of the open cubes by name."""
        return {name: _state(each) for name, each in self._annotations().items()}

    def settle(self) -> None:
        """Wait until no job runs and no timer is pending, so that every effect is there."""
        if self._dock is None:
            robot.process_events(0.02)
            return
        controller = self._dock._controller

        def is_settled() -> bool:
            return not controller.tools._delay.isActive() and not _running_jobs(self._session)

        self._wait(is_settled, "the jobs of the window")
        robot.process_events(0.01)
        self._wait(is_settled, "the jobs of the window")

    def _step(self, before: Callable[[str], None]) -> None:
        possible = [act for act in self._table if act.is_possible()]
        act = self._random.choices(possible, [act.weight for act in possible])[0]
        session = None if self._dock is None else self._session
        self._target = session.cube.name if session is not None and session.cube else ""
        self._note = ""
        before(act.name)
        try:
            act.do()
        except Exception as error:
            self._errors._add(error)
        self.acts.append(f"{act.name}: {self._note}" if self._note else act.name)
        is_edit = act.name not in ("undo", "redo", "open the dock")
        robot.process_events(0.01)
        settled = self._random.random() < 0.5
        if settled:
            self.settle()
        self._check(act.name, settled=settled, is_edit=is_edit)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        robot.wait_until(condition, _SETTLING, what)

    # ---- what there is

    @property
    def _the_dock(self) -> CarlDock:
        assert self._dock is not None
        return self._dock

    @property
    def _session(self) -> Session:
        return self._the_dock.session

    def _annotations(self) -> dict[str, Annotation]:
        """Return the annotations by the names of the cubes whose bands are in the viewer."""
        found = {}
        for layer in self._viewer.layers:
            entry = layer.metadata.get("carl", {})
            if "cube" in entry and "annotation" in entry:
                found[entry["cube"].name] = entry["annotation"]
        return found

    def _layer(self, slot: str, name: str = "") -> Any:
        """Return a layer of the current cube or of the one with a name, or None."""
        wanted = name or self._session.cube.name
        for layer in self._viewer.layers:
            of = layer.metadata.get("carl", {}).get("cube" if slot == "cube" else f"{slot}_of")
            if of is not None and of.name == wanted:
                return layer
        return None

    def _has_dock(self) -> bool:
        return self._dock is not None

    def _has_cube(self) -> bool:
        return self._dock is not None and self._session.cube is not None

    # ---- acts

    def _make_acts(self) -> list[Act]:
        has_cube, has_dock = self._has_cube, self._has_dock
        on_cube: list[tuple[str, int, Callable[[], None]]] = [
            ("paint", 30, self._paint),
            ("erase", 5, self._erase),
            ("fill", 2, self._fill),
            ("choose a class", 4, self._choose_class),
            ("add a class", 4, lambda: self._click("Add class")),
            ("rename a class", 6, self._rename),
            ("recolour a class", 4, self._recolour),
            ("remove the strokes layer", 3, lambda: self._remove("strokes")),
            ("remove the map layer", 2, lambda: self._remove("map")),
            ("remove the picture layer", 1, lambda: self._remove("picture")),
            ("remove the cube", 2, lambda: self._remove("cube")),
            ("remove all layers", 2, self._remove_all),
            ("reorder layers", 4, self._reorder),
            ("select a layer", 3, self._select_layer),
            ("hide or show a layer", 2, self._toggle_layer),
            ("switch between 2D and 3D", 3, self._toggle_3d),
            ("edit wavelengths", 2, self._edit_wavelengths),
            ("exclude a band", 2, self._exclude_band),
            ("show a band", 2, self._show_band),
            ("assign labels by a script", 2, self._assign),
            ("restore a saved version", 2, self._restore),
            ("discard all saved strokes", 1, self._discard),
            ("segment", 5, self._segment),
            ("choose a network", 1, self._choose_network),
        ]
        table = [Act(name, weight, has_cube, do) for name, weight, do in on_cube]
        return [
            *table,
            Act("open", 6, lambda: has_dock() and len(self._annotations()) < 3, self._open),
            Act("open and paint", 3, lambda: has_dock() and len(self._annotations()) < 3,
                self._open_and_paint),
            Act("switch the cube", 6, lambda: has_dock() and len(self._session.cubes) > 1,
                self._switch),
            Act("undo", 12, has_cube, self._undo),
            Act("redo", 6, has_cube, self._redo),
            Act("remove a class", 6, self._can_remove_class, self._remove_class),
            Act("close the dock", 2, has_dock, self._close_dock),
            Act("open the dock", 40, lambda: not has_dock(), self._open_dock),
            Act("paint without a dock", 20, lambda: not has_dock(), self._paint_without_dock),
            Act("remove strokes without a dock", 5, lambda: not has_dock(),
                self._remove_without_dock),
            Act("switch the theme", 1, lambda: True, self._switch_theme),
            Act("automatic on or off", 3, has_cube, lambda: self._click("Automatic")),
            Act("cancel", 4, lambda: has_dock() and bool(self._cancellable()), self._cancel),
            Act("fine-tune", 3, lambda: has_cube() and self._session.can_fine_tune,
                self._fine_tune),
            Act("save a model", 2, self._can_export, self._save_model),
            Act("load a model", 5, lambda: has_cube() and bool(self._models()), self._load_model),
            Act("decide about a model", 20,
                lambda: has_cube() and self._session.pending_model is not None, self._decide),
            Act("unload the model", 3, lambda: has_cube() and self._session.model is not None,
                lambda: self._click("Unload")),
            Act("export", 5, self._can_export, self._export),
        ]  # fmt: skip

    def _open(self) -> None:
        closed = [name for name in SHAPES if name not in self._annotations()]
        name = self._note = self._random.choice(closed)
        self._start_opening(name)
        self._finish_opening(name)

    def _start_opening(self, name: str) -> None:
        self._session.open_cube(self._folder / f"{name}.hdr")
        self._wait(lambda: name in self._annotations(), f"opening {name}")
        self._target = name

    def _finish_opening(self, name: str) -> None:
        annotation = self._annotations()[name]
        self._wait(lambda: annotation.is_restored, f"restoring {name}")
        state = _state(annotation)
        before = self._memories.get(name)
        if before is not None and before.is_saved and before.state[:2] != state[:2]:
            self._violated("files", f"{name} was restored with {_difference(before.state, state)}")
        self._memories[name] = Memory(state, annotation.initial_classes)

    def _open_and_paint(self) -> None:
        """Paint before the saved strokes are found; they are filled in where nothing is drawn."""
        closed = [name for name in SHAPES if name not in self._annotations()]
        name = self._note = self._random.choice(closed)
        self._start_opening(name)
        self._paint()
        annotation = self._annotations()[name]
        early = np.where(annotation.is_restored, 0, annotation.pixels)
        self._wait(lambda: annotation.is_restored, f"restoring {name}")
        after, before = _state(annotation), self._memories.get(name)
        if before is not None:
            saved = np.frombuffer(before.state.pixels, np.uint8).reshape(SHAPES[name])
            expected = np.where(early > 0, early, saved).tobytes()
            if early.any() and expected != after.pixels:
                self._violated("files", f"{name} was restored wrongly under new strokes")
        self._memories[name] = Memory(after, annotation.initial_classes)

    def _take_class(self) -> None:
        """Choose a class for the brush with its key, or with the mouse."""
        session = self._session
        values = [each.value for each in session.classes]
        if not values:
            self._click("Add class")
            return
        value = self._random.choice(values)
        if self._the_dock._controller.painting.has_keys and value <= 9:
            self._user.press(str(value))
        else:
            from qtpy.QtCore import Qt
            from qtpy.QtTest import QTest

            QTest.mouseClick(self._row(value), Qt.MouseButton.LeftButton)
        if session.classes.current != value:
            self._violated("layer", f"class {value} was not chosen")

    def _choose_class(self) -> None:
        self._take_class()

    def _stroke(self) -> list[tuple[float, float]]:
        """Return the ends of a short stroke."""
        height, width = self._session.cube.shape[:2]
        row, column = self._random.randrange(height - 2), self._random.randrange(width - 4)
        return [
            (row, column),
            (row + self._random.randrange(3), column + self._random.randrange(4)),
        ]

    def _paint(self) -> None:
        self._take_class()
        self._drag(self._stroke())

    def _drag(self, corners: list[tuple[float, float]]) -> None:
        painting = self._the_dock._controller.painting
        if painting.obstacle:
            self._violated("layer", f"cannot paint after a class was chosen: {painting.obstacle}")
            return
        strokes = self._layer("strokes")
        strokes.brush_size = self._random.randrange(1, 9)
        # The canvas may have another size since the camera moved: move it again, so that it fits.
        self._viewer.scene.camera.zoom = 1
        robot.process_events(0.01)
        self._viewer.reset_view()
        self._user.paint(*corners)
        self._note = f"{self._session.cube.name} {corners}"
        if strokes.data is not self._session.annotation.pixels:
            self._violated("layer", "the layer shows another array than the strokes")

    def _erase(self) -> None:
        self._the_dock._controller.painting.use("erase")
        self._drag(self._stroke())

    def _fill(self) -> None:
        self._the_dock._controller.painting.use("fill")
        strokes = self._layer("strokes")
        position = np.argwhere(strokes.data > 0)
        if len(position):
            row, column = self._random.choice(position.tolist())
            self._drag([(row, column), (row, column)])

    def _row(self, value: int) -> Any:
        from napari_carl.panels.annotate import ClassRow

        for each in self._the_dock.findChildren(ClassRow):
            if each._value == value and each.parent() is not None:
                return each
        raise LookupError(f"There is no row of class {value}.")

    def _click(self, text: str) -> None:
        robot.click(self._the_dock, text)

    def _random_class(self) -> int | None:
        values = [each.value for each in self._session.classes]
        return self._random.choice(values) if values else None

    def _rename(self) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        value = self._random_class()
        if value is None:
            return
        name = self._row(value)._name
        text = self._random.choice(["vessel", "fat", "Class 1", "vein", "muscle 2", ""])
        name.edit()
        QTest.keyClicks(name, text or " ")
        QTest.keyClick(name, Qt.Key.Key_Return)
        self._note = f"{self._session.cube.name} {value} {text!r}"
        if text and self._session.classes[value].name != text:
            self._violated("own acts", f"class {value} was not renamed to {text}")

    def _recolour(self) -> None:
        value = self._random_class()
        if value is not None:
            colour = tuple(self._random.randrange(256) for _ in range(3))
            self._row(value)._colour.picked.emit(colour)
            self._note = f"{self._session.cube.name} {value}"

    def _can_remove_class(self) -> bool:
        return self._has_cube() and bool(self._removable())

    def _removable(self) -> list[int]:
        model = self._session.model
        kept = set() if model is None else {each.value for each in model.predictor.classes}
        return [each.value for each in self._session.classes if each.value not in kept]

    def _remove_class(self) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QPushButton

        value = self._random.choice(self._removable())
        self._note = f"{self._session.cube.name} {value}"
        (cross,) = (
            each for each in self._row(value).findChildren(QPushButton) if each.text() == "✕"
        )
        QTest.mouseClick(cross, Qt.MouseButton.LeftButton)
        if value in self._session.classes or (self._session.annotation.pixels == value).any():
            self._violated("own acts", f"class {value} or its strokes are still there")

    def _undo(self) -> None:
        self._travel("Undo", self._session.annotation.can_undo, "undo", "redo")

    def _redo(self) -> None:
        self._travel("Redo", self._session.annotation.can_redo, "redo", "undo")

    def _travel(self, text: str, is_possible: bool, pop_from: str, push_to: str) -> None:
        """Undo or redo, and compare with what is remembered."""
        from qtpy.QtCore import Qt

        name = self._note = self._session.cube.name
        memory, has_layer = self._memories[name], self._layer("strokes") is not None
        modifier = Qt.KeyboardModifier.ControlModifier
        if text == "Redo":
            modifier |= Qt.KeyboardModifier.ShiftModifier
        if self._the_dock._controller.painting.has_keys:
            self._user.press(Qt.Key.Key_Z, modifier)
        elif is_possible:
            self._click(text)
        else:
            return
        after = _state(self._session.annotation)
        source, target = getattr(memory, pop_from), getattr(memory, push_to)
        if not has_layer or not is_possible:
            expected: State | None = memory.state
        elif not source:
            self._violated("undo", f"{text} of {name} changed something that nothing had changed")
            return
        else:
            expected = source.pop()
            target.append(memory.state)
        if expected is None:
            memory.undo, memory.redo = [None], []
        elif after != expected:
            self._violated("undo", f"{text} of {name}: {_difference(expected, after)}")
            memory.undo, memory.redo = [None], []
        memory.state = after

    def _remove(self, slot: str) -> None:
        layer = self._layer(slot)
        if layer is not None:
            self._note = layer.name
            self._viewer.layers.remove(layer)

    def _remove_all(self) -> None:
        self._viewer.layers.select_all()
        self._viewer.layers.remove_selected()

    def _reorder(self) -> None:
        layers = self._viewer.layers
        if len(layers) > 1:
            layers.move(self._random.randrange(len(layers)), self._random.randrange(len(layers)))

    def _select_layer(self) -> None:
        layer = self._random.choice([None, *self._viewer.layers])
        self._viewer.layers.selection.active = layer
        self._note = "none" if layer is None else layer.name

    def _toggle_layer(self) -> None:
        layer = self._random.choice(list(self._viewer.layers))
        layer.visible = not layer.visible
        self._note = layer.name

    def _toggle_3d(self) -> None:
        dims = self._viewer.dims
        dims.ndisplay = 5 - dims.ndisplay

    def _edit_wavelengths(self) -> None:
        from napari_carl import bands

        first = self._random.randrange(400, 500)
        self._session.edit_cube(
            lambda cube: bands.with_bands(cube, bands.bands_of_text(cube, f"{first}-{first + 210}"))
        )

    def _exclude_band(self) -> None:
        from napari_carl import bands

        good = np.flatnonzero(self._session.cube.good_bands)
        band = self._random.randrange(N_BANDS) if len(good) > 5 else int(self._random.choice(
            np.flatnonzero(~self._session.cube.good_bands)
        ))  # fmt: skip
        self._session.edit_cube(lambda cube: bands.with_band_toggled(cube, band))

    def _show_band(self) -> None:
        if self._viewer.dims.ndim > 2:
            self._viewer.dims.set_current_step(
                self._viewer.dims.ndim - 3, self._random.randrange(8)
            )

    def _assign(self) -> None:
        strokes = self._layer("strokes")
        if strokes is not None:
            pixels = strokes.data.copy()
            pixels[::7, :3] = self._random.randrange(4)
            strokes.data = pixels

    def _restore(self) -> None:
        versions = self._the_dock._controller.autosave.versions
        if versions:
            self._the_dock._controller.autosave.restore(self._random.choice(versions))

    def _discard(self) -> None:
        """Discard after the question; only this may delete saved strokes."""
        self.settle()
        self._the_dock._controller.autosave.discard()

    def _segment(self) -> None:
        if self._session.can_segment:
            self._click("Segment")

    def _choose_network(self) -> None:
        self._session.choose_network("carl-nano")

    def _switch(self) -> None:
        others = [each for each in self._session.cubes if each is not self._session.cube]
        cube = self._random.choice(others)
        self._note = cube.name
        self._session.select_cube(cube)

    def _switch_theme(self) -> None:
        self._viewer.theme = "light" if self._viewer.theme == "dark" else "dark"

    def _cancellable(self) -> list[Any]:
        from napari_carl.jobs import JobKind

        kinds = (JobKind.SEGMENTING, JobKind.FINE_TUNING, JobKind.LOADING, JobKind.EXPORTING)
        return [kind for kind in kinds if self._session.jobs.state(kind) is not None]

    def _cancel(self) -> None:
        kind = self._random.choice(self._cancellable())
        self._note = str(kind)
        self._session.jobs.cancel(kind)

    def _fine_tune(self) -> None:
        self._session.fine_tune(self._random.choice(["last_blocks", "lora", "full"]), 2)

    def _models(self) -> list[Path]:
        return sorted(self._folder.glob("model*.carl"))

    def _can_export(self) -> bool:
        return self._has_cube() and self._session.predictor is not None

    def _save_model(self) -> None:
        path = self._folder / f"model{self._random.randrange(3)}.carl"
        self._note = path.name
        self._session.save_predictor(path)
        self.settle()

    def _load_model(self) -> None:
        path = self._random.choice(self._models())
        self._note = path.name
        self._session.load_predictor(path)
        if self._random.random() < 0.8:
            self.settle()

    def _decide(self) -> None:
        self._click(self._random.choice(["Keep my classes", "Use the model's classes", "Cancel"]))

    def _export(self) -> None:
        """Export to a new folder, and compare with the layer of the map."""
        from carl.io import read_labels
        from napari_carl.layer_data import finest

        self.settle()
        session = self._session
        if session.predictor is None:
            return
        name = session.cube.name
        folder = self._folder / f"export {len(self.acts)}"
        session.export(folder)
        self.settle()
        written = read_labels(folder / _EXPORTED.format(name))
        shown = self._layer("map")
        self._note = name
        if shown is not None and not np.array_equal(written.labels, finest(shown.data)):
            self._violated("export", f"the labels of {name} are not those shown")
        known = {each.value: each for each in session.classes}
        used = set(np.unique(written.labels).tolist()) - {0}
        named = {each.value: each for each in written.classes}
        wrong = [value for value in used if named.get(value) != known.get(value)]
        if wrong:
            self._violated("export", f"classes {wrong} of {name} are not those of the table")

    def _close_dock(self) -> None:
        dock = self._dock
        if dock is None:
            return
        self._closed_docks += [weakref.ref(dock), weakref.ref(dock.session)]
        self._dock = None
        self._viewer.window.remove_dock_widget(dock.parent())
        del dock
        robot.process_events(0.02)

    def _open_dock(self) -> None:
        _, self._dock = self._viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
        robot.process_events(0.02)
        for annotation in self._annotations().values():
            self._wait(lambda each=annotation: _is_open(self._session, each), "the cubes")
        self.settle()
        self._target = "" if self._session.cube is None else self._session.cube.name

    def _paint_without_dock(self) -> None:
        """Paint on the strokes of a cube while no dock is open."""
        names = [name for name in self._annotations() if self._layer("strokes", name) is not None]
        if not names:
            return
        name = self._note = self._random.choice(names)
        strokes = self._layer("strokes", name)
        strokes.data_setitem((np.full(5, self._random.randrange(40)), np.arange(5)), 1)
        memory = self._memories[name]
        memory.state = State(strokes.data.tobytes(), memory.state.classes, memory.state.model)
        memory.undo, memory.redo = [None], []

    def _remove_without_dock(self) -> None:
        for layer in list(self._viewer.layers):
            if "strokes_of" in layer.metadata.get("carl", {}):
                self._viewer.layers.remove(layer)

    # ---- checks

    def _violated(self, invariant: str, text: str) -> None:
        acts = (*self.acts[-_N_LISTED:], f"({self._note})")
        self.violations.append(Violation(invariant, text, acts))

    def _check(self, act: str, *, settled: bool, is_edit: bool = True) -> None:
        self._check_states(act, is_edit=is_edit)
        self._check_layers()
        if self._dock is not None:
            self._check_dock()
        if settled:
            self._check_files()
            self._check_leaks()
            if self._has_cube():
                self._check_map()
        self._check_errors()

    def _check_states(self, act: str, *, is_edit: bool) -> None:
        """Compare the states with those remembered; only those of the target may differ."""
        for name, state in self.states().items():
            initial = self._annotations()[name].initial_classes
            memory = self._memories.setdefault(name, Memory(state, initial))
            if state == memory.state:
                continue
            if name != self._target:
                self._violated("own acts", f"{act} changed {name}: "
                               f"{_difference(memory.state, state)}")  # fmt: skip
            elif is_edit:
                memory.undo.append(memory.state)
                memory.redo = []
                memory.state = state
                continue
            memory.state, memory.undo, memory.redo = state, [None], []

    def _check_layers(self) -> None:
        seen = Counter[str]()
        cubes = self._annotations()
        for layer in self._viewer.layers:
            for key, of in layer.metadata.get("carl", {}).items():
                if key.endswith("_of"):
                    seen[f"{key} {of.name}"] += 1
                    if of.name not in cubes:
                        self._violated("layers", f"{layer.name} is left of a removed cube")
                elif key == "cube":
                    seen[f"{key} {of.name}"] += 1
        for what, number in seen.items():
            if number > 1:
                self._violated("layers", f"{number} layers are {what}")
        for name, annotation in cubes.items():
            strokes = self._layer("strokes", name)
            if strokes is None:
                continue
            if not np.array_equal(strokes.data, annotation.pixels):
                self._violated("layer", f"the strokes of {name} are not those of its layer")
            if self._dock is None:
                continue
            for known in annotation.classes:
                shown = (np.asarray(strokes.get_color(known.value))[:3] * 255).round()
                if not strokes.show_selected_label and tuple(shown) != known.colour:
                    self._violated("layer", f"{known.name} of {name} is {shown}")

    def _check_dock(self) -> None:
        session = self._session
        shown = {layer.metadata["carl"]["cube"].name for layer in self._viewer.layers
                 if "cube" in layer.metadata.get("carl", {})}  # fmt: skip
        if shown != {cube.name for cube in session.cubes}:
            self._violated("layers", f"cubes {shown} are shown, not those of the session")
        if session.cube is None:
            return
        from napari_carl.steps import Step

        is_enabled = self._the_dock.sections[Step.EXPORT].body.isEnabled()
        if is_enabled != (session.predictor is not None):
            self._violated("export", f"Export is {'enabled' if is_enabled else 'disabled'}")
        rows = self._row_texts()
        table = {each.value: each.name for each in session.classes}
        if rows != table:
            self._violated("layer", f"the table shows {rows}, not {table}")

    def _row_texts(self) -> dict[int, str]:
        from napari_carl.panels.annotate import ClassRow

        rows = self._the_dock.findChildren(ClassRow)
        return {each._value: each._name.text() for each in rows if each.parent() is not None}

    def _check_map(self) -> None:
        from napari_carl.layer_data import finest

        session = self._session
        pixels, layer = session.annotation.pixels, self._layer("map")
        counts = {int(n): int((pixels == n).sum()) for n in np.unique(pixels) if n}
        if counts != session.counts:
            self._violated("map", f"{session.counts} labelled pixels are reported, not {counts}")
        result, made_from = session.segmentation, session._segmented
        if session.segmentation_is_current:
            if not np.array_equal(made_from.strokes, pixels):
                self._violated("map", "the map is called current but is of other strokes")
            missing = set(np.unique(result.labels).tolist()) - {0} - {
                each.value for each in session.classes
            }  # fmt: skip
            if missing:
                self._violated("map", f"the map has classes {missing} that are not in the table")
        if layer is None:
            return
        expected = np.zeros(pixels.shape) if result is None else result.labels
        if not np.array_equal(finest(layer.data), expected):
            self._violated("map", "the layer of the map is not the segmentation")
        is_marked = layer.name.endswith("(out of date)")
        is_old = result is not None and not session.segmentation_is_current
        if is_old and not is_marked:
            self._violated("map", "an old map is not marked")
        if is_marked and session.segmentation_is_current:
            self._violated("map", "a current map is marked as out of date")
        may_be_missing = any(act.startswith(("cancel", "automatic")) for act in self.acts)
        if session.automatic and session.can_segment and result is None and not may_be_missing:
            self._violated("map", "there is no map though it is computed automatically")

    def _check_files(self) -> None:
        """Compare what is on disk with the states; closed cubes included."""
        if self._dock is None:
            return
        for name, memory in self._memories.items():
            saved = saved_state(self._folder / f"{name}.hdr")
            if saved is None and memory.is_saved:
                self._violated("files", f"nothing is saved of {name}")
            elif saved is not None and saved != memory.state[:2]:
                self._violated("files", f"{name}: {_difference(memory.state, saved)} on disk")

    def _check_leaks(self) -> None:
        running = {f"carl {kind}" for kind in _running_jobs(self._session)} if self._dock else set()
        left = [each.name for each in threading.enumerate()
                if each.name.startswith("carl ") and each.name not in running]  # fmt: skip
        if left:
            self._wait(lambda: not _carl_threads() - running, f"the end of {left}")
        from qtpy.QtCore import QCoreApplication, QEvent

        for _ in range(_N_COLLECTIONS):
            if any(each() is not None for each in self._closed_docks):
                robot.process_events(0.01)
                # Outside of an event loop Qt leaves these to be sent by the program.
                QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
                gc.collect()
        if any(each() is not None for each in self._closed_docks):
            self._violated("leaks", "a closed dock is still there")
        self._closed_docks.clear()
        if len(_windows()) > self._n_windows:
            self._violated("leaks", f"{len(_windows())} windows, {self._n_windows} at the start")
            self._n_windows = len(_windows())

    def _check_errors(self) -> None:
        for text in self._errors.take():
            self._violated("errors", text)


def digest(pixels: bytes, classes: Iterable[LabelClass]) -> str:
    """Return a short digest of strokes and classes."""
    return sha256(pixels + repr(tuple(classes)).encode()).hexdigest()[:16]


def saved_state(path: Path) -> tuple[bytes, tuple[LabelClass, ...]] | None:
    """Return the saved strokes and classes of a cube, or None."""
    from carl.io import read_cube
    from napari_carl.stroke_versions import StrokeVersions

    versions = StrokeVersions(read_cube(path))
    versions.close()
    latest = versions.latest
    if latest is None:
        return None
    return latest.strokes.labels.tobytes(), latest.strokes.classes


def _state(annotation: Annotation) -> State:
    model = annotation.state.model
    name = "" if model is None else f"{model.path.name} {id(model)}"
    return State(annotation.pixels.tobytes(), tuple(annotation.classes), name)


def _is_open(session: Session, annotation: Annotation) -> bool:
    return any(session.annotation_of(cube) is annotation for cube in session.cubes)


def _difference(expected: Any, found: Any) -> str:
    """Describe what differs between two states."""
    parts = []
    if expected[0] != found[0]:
        before, after = (np.frombuffer(each[0], np.uint8) for each in (expected, found))
        counts = [np.bincount(each)[1:].tolist() for each in (before, after)]
        parts.append(f"strokes of {counts[1]} instead of {counts[0]} pixels")
    if expected[1] != found[1]:
        names = [[f"{each.value} {each.name}" for each in state[1]] for state in (found, expected)]
        parts.append(f"classes {names[0]} instead of {names[1]}")
    if len(expected) == len(found) == 3 and expected[2] != found[2]:
        parts.append(f"model {found[2] or 'none'} instead of {expected[2] or 'none'}")
    return " and ".join(parts)


def _running_jobs(session: Session) -> list[Any]:
    from napari_carl.jobs import JobKind

    return [kind for kind in JobKind if session.jobs.state(kind) is not None]


def _carl_threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("carl ")}


def _windows() -> list[Any]:
    from qtpy.QtWidgets import QApplication, QMainWindow

    return [each for each in QApplication.topLevelWidgets() if isinstance(each, QMainWindow)]
