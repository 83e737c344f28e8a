"""The classes one paints: values, names, colours, and which is in hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from psygnal import Signal

from carl.io import LabelClass, default_colour

Colour = tuple[int, int, int]


class ClassTable:
    """An editable table of classes; their values are those in the label maps, from 1.

    Attributes:
        current: value of the class that is painted with.
    """

    changed = Signal()  # a class has come, gone, or has another name or colour
    current_changed = Signal(int)  # the value now in hand

    def __init__(self, n_classes: int = 2) -> None:
        self._classes = {value: _new(value) for value in range(1, n_classes + 1)}
        self.current = 1

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, value: int) -> bool:
        return value in self._classes

    def __getitem__(self, value: int) -> LabelClass:
        return self._classes[value]

    def add(self) -> None:
        """Add a class under the next free value, and take it in hand."""
        value = max(self._classes, default=0) + 1
        self._classes[value] = _new(value)
        self.changed.emit()
        self.choose(value)

    def include(self, values: Iterable[int]) -> None:
        """Add classes for the values that have none yet."""
        missing = {value: _new(value) for value in values if value not in self._classes}
        if missing:
            self._classes = dict(sorted((self._classes | missing).items()))
            self.changed.emit()

    def replace(self, classes: Iterable[LabelClass]) -> None:
        """Put these classes in the place of all others."""
        replaced = {known.value: known for known in classes}
        if replaced == self._classes:
            return
        self._classes = replaced
        self.changed.emit()
        if self._classes and self.current not in self._classes:
            self.choose(next(iter(self._classes)))

    def remove(self, value: int) -> None:
        """Remove a class; one of the others is taken in hand instead."""
        del self._classes[value]
        self.changed.emit()
        if self._classes and self.current == value:
            self.choose(max(self._classes))

    def rename(self, value: int, name: str) -> None:
        """Give a class another name; a blank one is not taken."""
        self._edit(replace(self._classes[value], name=name.strip() or self._classes[value].name))

    def recolour(self, value: int, colour: Colour) -> None:
        """Give a class another colour, red, green and blue in 0..255."""
        self._edit(replace(self._classes[value], colour=colour))

    def choose(self, value: int) -> None:
        """Take a class in hand, if there is one of that value."""
        if value in self._classes:
            self.current = value
            self.current_changed.emit(value)

    def _edit(self, edited: LabelClass) -> None:
        if self._classes[edited.value] != edited:
            self._classes[edited.value] = edited
            self.changed.emit()


def _new(value: int) -> LabelClass:
    return LabelClass(value, f"Class {value}", default_colour(value))
