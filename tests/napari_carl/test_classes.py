from __future__ import annotations

import pytest

from carl.io import LabelClass
from napari_carl.classes import ClassTable


@pytest.fixture
def table():
    return ClassTable()


def values(table):
    return [known.value for known in table]


def test_starts_with_two_classes_of_different_colours(table):
    assert values(table) == [1, 2]
    assert len({known.colour for known in table}) == 2
    assert table.current == 1


def test_a_new_class_gets_the_next_value_and_becomes_current(table):
    table.add()

    assert values(table) == [1, 2, 3]
    assert table.current == 3


def test_removing_the_current_class_makes_another_current(table):
    table.add()
    table.remove(3)

    assert values(table) == [1, 2]
    assert table.current == 2


def test_a_value_is_free_again_after_its_class_is_removed(table):
    table.remove(2)
    table.add()

    assert values(table) == [1, 2]


def test_included_values_are_sorted(table):
    table.replace([LabelClass(4, "four", (1, 2, 3))])
    table.include([2, 4, 7])

    assert values(table) == [2, 4, 7]
    assert table[4].name == "four"


def test_including_known_values_changes_nothing(table):
    changes = []
    table.changed.connect(lambda: changes.append(True))

    table.include([1, 2])

    assert changes == []


def test_names_and_colours_are_edited(table):
    changes = []
    table.changed.connect(lambda: changes.append(True))

    table.rename(1, "  stroma ")
    table.recolour(2, (10, 20, 30))
    table.rename(1, "stroma")  # no change, no signal

    assert table[1].name == "stroma"
    assert table[2].colour == (10, 20, 30)
    assert len(changes) == 2


def test_a_blank_name_is_ignored(table):
    table.rename(1, "   ")

    assert table[1].name == "Class 1"


def test_only_known_classes_can_be_chosen(table):
    changes = []
    table.current_changed.connect(changes.append)

    table.choose(2)
    table.choose(9)

    assert table.current == 2
    assert changes == [2]


def test_replacing_the_classes_keeps_a_class_in_hand(table):
    table.choose(2)
    table.replace([LabelClass(5, "five", (1, 2, 3))])

    assert table.current == 5
