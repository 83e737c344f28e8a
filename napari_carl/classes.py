"""The editable table of classes: values, names, colours, and the current class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from psygnal import Signal

from carl.io import LabelClass, default_colour

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""


class ClassTable:
    """An editable table of classes by their value in label maps, from 1.

    Attributes:
        current: value of the class that the brush draws.
    """

    changed = Signal()  # a class was added, removed, renamed or recoloured
    current_changed = Signal(int)  # value of the class that is current now

    def __init__(self, n_classes: int = 2) -> None:
        self._classes = {value: _new_class(value) for value in range(1, n_classes + 1)}
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
        """Add a class with the next free value and make it current."""
        value = max(self._classes, default=0) + 1
        self._classes[value] = _new_class(value)
        self.changed.emit()
        self.choose(value)

    def include(self, values: Iterable[int]) -> None:
        """Add default classes for the values that are not in the table."""
        missing = {value: _new_class(value) for value in values if value not in self._classes}
        if missing:
            self._classes = dict(sorted((self._classes | missing).items()))
            self.changed.emit()

    def replace(self, classes: Iterable[LabelClass]) -> None:
        """Replace all classes."""
        replaced = {each.value: each for each in classes}
        if replaced == self._classes:
            return
        self._classes = replaced
        self.changed.emit()
        if self._classes and self.current not in self._classes:
            self.choose(next(iter(self._classes)))

    def remove(self, value: int) -> None:
        """Remove a class; if it was current, the one with the highest value becomes current."""
        del self._classes[value]
        self.changed.emit()
        if self._classes and self.current == value:
            self.choose(max(self._classes))

    def rename(self, value: int, name: str) -> None:
        """Rename a class; a blank name is ignored."""
        self._edit(replace(self._classes[value], name=name.strip() or self._classes[value].name))

    def recolour(self, value: int, colour: Colour) -> None:
        """Change the colour of a class."""
        self._edit(replace(self._classes[value], colour=colour))

    def choose(self, value: int) -> None:
        """Make a class current; a value that is not in the table is ignored."""
        if value in self._classes:
            self.current = value
            self.current_changed.emit(value)

    def _edit(self, edited: LabelClass) -> None:
        if self._classes[edited.value] != edited:
            self._classes[edited.value] = edited
            self.changed.emit()


def _new_class(value: int) -> LabelClass:
    return LabelClass(value, default_name(value), default_colour(value))


def default_name(value: int) -> str:
    """Return the name of a new class."""
    return f"Class {value}"
