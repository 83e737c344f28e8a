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


def test_a_new_class_gets_the_next_value_and_is_taken_in_hand(table):
    table.add()

    assert values(table) == [1, 2, 3]
    assert table.current == 3


def test_removing_the_class_in_hand_takes_another(table):
    table.add()
    table.remove(3)

    assert values(table) == [1, 2]
    assert table.current == 2


def test_a_value_is_free_again_after_its_class_is_removed(table):
    table.remove(2)
    table.add()

    assert values(table) == [1, 2]


def test_painted_values_get_a_class_in_order(table):
    table.replace([LabelClass(4, "four", (1, 2, 3))])
    table.include([2, 4, 7])

    assert values(table) == [2, 4, 7]
    assert table[4].name == "four"


def test_include_is_silent_when_all_are_there(table):
    told = []
    table.changed.connect(lambda: told.append(True))

    table.include([1, 2])

    assert told == []


def test_names_and_colours_are_edited(table):
    told = []
    table.changed.connect(lambda: told.append(True))

    table.rename(1, "  stroma ")
    table.recolour(2, (10, 20, 30))
    table.rename(1, "stroma")  # no change, no signal

    assert table[1].name == "stroma"
    assert table[2].colour == (10, 20, 30)
    assert len(told) == 2


def test_a_blank_name_is_not_taken(table):
    table.rename(1, "   ")

    assert table[1].name == "Class 1"


def test_only_known_classes_can_be_chosen(table):
    told = []
    table.current_changed.connect(told.append)

    table.choose(2)
    table.choose(9)

    assert table.current == 2
    assert told == [2]


def test_replacing_the_classes_keeps_a_class_in_hand(table):
    table.choose(2)
    table.replace([LabelClass(5, "five", (1, 2, 3))])

    assert table.current == 5
