"""The strokes and classes of one cube with their history: layers show them, files store them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.errors import LabelError
from carl.io import LabelClass
from napari_carl.classes import ClassTable, default_name
from napari_carl.foreign_labels import joined, matched_by_name

if TYPE_CHECKING:
    from carl.learning import Predictor

StrokeImage = NDArray[np.uint8]
"""(H, W) class of every labelled pixel, 0 = unlabelled."""

_MAX_EDITS = 200
"""Number of edits that can be undone."""
_MAX_HISTORY_BYTES = 1 << 28
"""Memory of the pixels in the history; the oldest edits are dropped first."""
_BLOCK_ROWS = 64
"""Rows that are compared at once: they fit into the cache of a core, so that nothing is written to
memory where nothing was changed."""
_HIGHEST_VALUE = 255
"""Highest value of a class in strokes of one byte per pixel."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A predictor and the file it was loaded from."""

    path: Path
    predictor: Predictor


@dataclass(frozen=True, eq=False)
class AnnotationState:
    """An annotation at one moment; its arrays are never changed.

    Attributes:
        strokes: (H, W) strokes, 0 = unlabelled.
        classes: names and colours.
        model: loaded model that the strokes correct, or None.
    """

    strokes: StrokeImage
    classes: tuple[LabelClass, ...]
    model: LoadedModel | None = None

    @property
    def has_strokes(self) -> bool:
        """Whether a pixel is labelled."""
        return bool(self.strokes.any())


@dataclass(frozen=True, eq=False)
class _Edit:
    """What one edit changed: the state before and after, its strokes within a box only."""

    box: tuple[slice, slice]
    before: AnnotationState
    after: AnnotationState

    @property
    def nbytes(self) -> int:
        return self.before.strokes.nbytes + self.after.strokes.nbytes


class Annotation:
    """Strokes and classes of one cube, and the model they correct; every edit can be undone.

    The strokes are edited in place, for example by a layer that shows `pixels`: call `commit`
    after each edit, and `publish` when its effects may be computed. Methods that edit publish.

    Args:
        shape: height and width of the cube.
        classes: initial classes; the default ones if None.

    Attributes:
        pixels: (H, W) strokes, which may be ahead of `state` while a stroke is drawn.
        classes: the table of classes.
        state: the annotation after the newest edit.
        initial_classes: the classes before any edit.
        is_restored: whether the strokes saved earlier have been filled in.
    """

    repainted = Signal()  # `pixels` were changed by this class: views have to draw them again
    strokes_changed = Signal()
    model_changed = Signal()
    history_changed = Signal()  # there is another edit to undo or to redo

    def __init__(
        self, shape: tuple[int, int] = (0, 0), classes: Iterable[LabelClass] | None = None
    ) -> None:
        self.classes = ClassTable()
        if classes is not None:
            self.classes.replace(classes)
        self.pixels: StrokeImage = np.zeros(shape, np.uint8)
        self.state = AnnotationState(self.pixels.copy(), tuple(self.classes))
        self.initial_classes = self.state.classes
        self.is_restored = False
        self._published = self.state
        self._undo: list[_Edit] = []
        self._redo: list[_Edit] = []
        self._is_grouping = False
        self.classes.changed.connect(self._on_classes)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to redo."""
        return bool(self._redo)

    @property
    def is_blank(self) -> bool:
        """Whether there are no strokes and no class was given a name."""
        names = [(each.name, default_name(each.value)) for each in self.classes]
        return not self.state.has_strokes and all(name == default for name, default in names)

    # ---- recording

    def commit(self) -> None:
        """Record what was changed since the last call as one edit; fast if nothing was."""
        self._record(self.state.model)

    def publish(self) -> None:
        """Record what was changed, and emit the signals of all edits since the last call."""
        self.commit()
        before, self._published = self._published, self.state
        if self.state.strokes is not before.strokes:
            self.strokes_changed.emit()
        if self.state.model is not before.model:
            self.model_changed.emit()

    def _record(self, model: LoadedModel | None) -> None:
        before = self.state
        box = _changed_box(before.strokes, self.pixels)
        if box is not None:
            with self._grouped():
                self.classes.include(_values(self.pixels[box]))
        classes = tuple(self.classes)
        if box is None and classes == before.classes and model is before.model:
            return
        strokes = before.strokes if box is None else self.pixels.copy()
        box = box or (slice(0, 0), slice(0, 0))
        self.state = AnnotationState(strokes, classes, model)
        self._undo.append(
            _Edit(
                box,
                AnnotationState(before.strokes[box].copy(), before.classes, before.model),
                AnnotationState(strokes[box].copy(), classes, model),
            )
        )
        self._redo.clear()
        while len(self._undo) > _MAX_EDITS or (
            len(self._undo) > 1 and sum(edit.nbytes for edit in self._undo) > _MAX_HISTORY_BYTES
        ):
            del self._undo[0]
        self.history_changed.emit()

    @contextmanager
    def _grouped(self) -> Iterator[None]:
        """Leave changes of the class table to be recorded together with what follows."""
        before, self._is_grouping = self._is_grouping, True
        try:
            yield
        finally:
            self._is_grouping = before

    def _on_classes(self) -> None:
        if not self._is_grouping:
            self.publish()

    # ---- undo

    def undo(self) -> None:
        """Undo the newest edit: a stroke, an edit of the classes, or the loading of a model."""
        self.commit()
        if self._undo:
            edit = self._undo.pop()
            self._redo.append(edit)
            self._apply(edit.box, edit.before)

    def redo(self) -> None:
        """Redo the edit that was undone last."""
        self.commit()
        if self._redo:
            edit = self._redo.pop()
            self._undo.append(edit)
            self._apply(edit.box, edit.after)

    def _apply(self, box: tuple[slice, slice], state: AnnotationState) -> None:
        strokes = self.state.strokes
        is_repainted = state.strokes.size > 0
        if is_repainted:
            self.pixels[box] = state.strokes
            strokes = self.pixels.copy()
        self.state = AnnotationState(strokes, state.classes, state.model)
        with self._grouped():
            self.classes.replace(state.classes)
        if is_repainted:
            self.repainted.emit()
        self.publish()
        self.history_changed.emit()

    # ---- edits

    def set_strokes(self, strokes: NDArray[Any]) -> None:
        """Replace the strokes.

        Args:
            strokes: (H, W) values 0..255, 0 = unlabelled; copied. A value without a class gets
                one.

        Raises:
            LabelError: the size differs from the cube's, or a value is above 255.
        """
        self._edit(strokes)

    def add_strokes(
        self, strokes: NDArray[Any], classes: Iterable[LabelClass] | None = None
    ) -> None:
        """Add strokes where nothing is labelled.

        Args:
            strokes: (H, W) values 0..255, 0 = unlabelled. A value without a class gets one.
            classes: names and colours that replace those of the table; None to keep these.

        Raises:
            LabelError: as `set_strokes`.
        """
        added = np.where(self.pixels == 0, _checked(strokes, self.pixels.shape), self.pixels)
        self._edit(added, classes)

    def replace(self, strokes: NDArray[Any], classes: Iterable[LabelClass]) -> None:
        """Replace the strokes and the classes.

        Raises:
            LabelError: as `set_strokes`.
        """
        self._edit(strokes, classes)

    def restore(self, strokes: NDArray[Any], classes: Iterable[LabelClass]) -> None:
        """Fill in strokes and classes saved earlier; what was edited since stays as it is.

        This cannot be undone if nothing was edited since the cube was opened.

        Raises:
            LabelError: as `set_strokes`.
        """
        self.commit()
        is_first = not self._undo and not self._redo
        filled = self.filled_in(_checked(strokes, self.pixels.shape), classes)
        self._edit(filled.strokes, filled.classes)
        if is_first:
            self._undo.clear()
            self.history_changed.emit()

    def filled_in(
        self,
        strokes: NDArray[Any],
        classes: Iterable[LabelClass],
        state: AnnotationState | None = None,
    ) -> AnnotationState:
        """Return a state with strokes filled in where nothing is labelled.

        Args:
            strokes: (H, W) values 0..255, 0 = unlabelled.
            classes: their classes, which replace those that were not edited since the cube was
                opened.
            state: an earlier state of this annotation; the present one by default.
        """
        state = self.state if state is None else state
        labelled = {*_values(state.strokes)}
        table = {each.value: each for each in state.classes if each.value in labelled}
        table |= {each.value: each for each in classes}
        table |= {each.value: each for each in state.classes if each not in self.initial_classes}
        return replace(
            state,
            strokes=np.where(state.strokes == 0, strokes, state.strokes),
            classes=tuple(table[value] for value in sorted(table)),
        )

    def clear(self) -> None:
        """Erase all strokes."""
        self._edit(np.zeros_like(self.pixels))

    def remove_class(self, value: int) -> None:
        """Remove a class together with its strokes.

        Raises:
            LabelError: the loaded model predicts the class.
        """
        model = self.state.model
        if model is not None and value in {each.value for each in model.predictor.classes}:
            raise LabelError(
                f"'{self.classes[value].name}' is a class of the loaded model "
                f"{model.path.name}: unload the model before you remove it."
            )
        erased = np.where(self.pixels == value, 0, self.pixels)
        self._edit(erased, (each for each in self.classes if each.value != value))

    def load_model(self, model: LoadedModel, *, by_name: bool = False) -> None:
        """Take over a loaded model and its classes; the strokes correct it from now on.

        Args:
            model: the model.
            by_name: strokes of a class that the model knows by name get the model's value, and
                those of other classes a value that is free; otherwise strokes take the model's
                class of the same value.

        Raises:
            LabelError: there are more than 255 classes.
        """
        strokes, own, table = self.pixels, self.labelled_classes(), model.predictor.classes
        if by_name:
            strokes, classes = matched_by_name(strokes, table, own)
        else:
            classes = joined(own, table)
        self._edit(strokes, classes, model)

    def labelled_classes(self) -> tuple[LabelClass, ...]:
        """Return the classes that have strokes."""
        return tuple(self.classes[value] for value in _values(self.pixels))

    def unload_model(self) -> None:
        """Drop the loaded model; the classes and the strokes stay."""
        self.commit()
        self._record(None)
        self.publish()

    def _edit(
        self,
        strokes: NDArray[Any],
        classes: Iterable[LabelClass] | None = None,
        model: LoadedModel | None = None,
    ) -> None:
        """Replace strokes, classes and model (None: as before) by one edit."""
        strokes = _checked(strokes, self.pixels.shape)
        self.commit()
        if (strokes != self.pixels).any():
            self.pixels[:] = strokes
            self.repainted.emit()
        with self._grouped():
            if classes is not None:
                self.classes.replace(sorted(classes, key=lambda each: each.value))
                self.classes.include(_values(self.pixels))
        self._record(model or self.state.model)
        self.publish()


def _checked(strokes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return strokes of a cube of a (height, width), or raise a `LabelError`."""
    if strokes.shape != shape:
        raise LabelError(
            f"The labels are {strokes.shape[0]} × {strokes.shape[1]} pixels but the cube is "
            f"{shape[0]} × {shape[1]}: use labels of the size of the cube."
        )
    if strokes.size and not 0 <= int(strokes.min()) <= int(strokes.max()) <= _HIGHEST_VALUE:
        raise LabelError(
            f"The labels go from {strokes.min()} to {strokes.max()}: strokes have values from 0 "
            f"to {_HIGHEST_VALUE}."
        )
    return strokes


def _changed_box(before: StrokeImage, after: StrokeImage) -> tuple[slice, slice] | None:
    """Return the smallest box around the pixels that differ, or None if none does."""
    blocks = [slice(i, i + _BLOCK_ROWS) for i in range(0, len(after), _BLOCK_ROWS)]
    changed = [block for block in blocks if not np.array_equal(before[block], after[block])]
    if not changed:
        return None
    first, last = changed[0].start, changed[-1].stop
    differs = before[first:last] != after[first:last]
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    return (
        slice(first + int(rows[0]), first + int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def _values(pixels: StrokeImage) -> list[int]:
    """Return the values of the labelled pixels."""
    return [int(value) for value in np.flatnonzero(np.bincount(pixels[pixels > 0]))]
