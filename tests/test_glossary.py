"""The check of retired words: what it finds, and which meanings it allows."""

from __future__ import annotations

import re

import check_glossary
import pytest
from check_glossary import Allowed, Retired

OLD = Retired(
    text=check_glossary.word_pattern("quux( apart)?"),
    names=frozenset({"Look"}),
    files=("carl/*",),
    write="reported",
    allowed=(Allowed(re.compile("we are quux"), "*.py", "a person is meant"),),
)


def lines(source: str, file: str = "carl/a.py") -> list[int]:
    return [finding.line for finding in check_glossary.find(file, source, [OLD])]


@pytest.mark.parametrize(
    "source",
    [
        "quux = 1",
        "is_quux = 1",
        "isQuux = 1",
        "# a quux value",
        "'Quux.'",
        "class Look: ...",
        "f'{quux}'",
    ],
)
def test_finds_names_comments_and_strings(source: str) -> None:
    assert lines(source) == [1]


@pytest.mark.parametrize("source", ["unquux = 1", "look = 1", "# we are quux"])
def test_leaves_other_words_and_allowed_meanings(source: str) -> None:
    assert lines(source) == []


def test_phrases_may_span_lines_and_are_reported_where_they_begin() -> None:
    assert lines('"""One.\n\nTwo is quux\napart.\n"""\n') == [3]
    assert lines("# One\n\nText quux\napart.\n", "carl/a.md") == [3]
    assert lines("quux", "docs/a.md") == []


def test_the_glossary_can_be_read_and_every_exception_has_a_reason() -> None:
    glossary = check_glossary.read_glossary()
    assert len(glossary) >= 20
    assert all(word.write and (word.text or word.names) for word in glossary)
    assert all(len(each.reason.split()) >= 2 for word in glossary for each in word.allowed)
