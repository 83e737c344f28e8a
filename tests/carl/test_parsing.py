from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from carl.errors import CarlError, ModelError
from carl.parsing import load_yaml, parse_dataclass


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise CarlError("The rate is negative.")


@dataclass(frozen=True)
class Outer:
    count: int
    on: bool = False
    name: str = ""
    path: Path | None = None
    pair: tuple[int, int] | None = None
    words: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    either: str | Inner = "none"


def test_values_are_converted_to_the_types_of_their_fields() -> None:
    values = {
        "count": "3", "on": True, "name": "x", "path": "a/b", "pair": [1, 2.0], "words": ["u"],
        "inner": {"rate": "1e-4", "kind": "b"}, "several": [{}, {"rate": 2}], "options": {"k": [1]},
        "either": Inner(5),
    }  # fmt: skip
    assert parse_dataclass(Outer, values) == Outer(
        3, True, "x", Path("a/b"), (1, 2), ("u",), Inner(1e-4, "b"), (Inner(), Inner(2.0)),
        {"k": [1]}, Inner(5),
    )  # fmt: skip
    assert parse_dataclass(Outer, {"count": 1, "path": None, "options": None}) == Outer(1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "The file is not a table of keys and values."),
        ({}, "The key 'count' is missing."),
        ({"count": 1, "nmae": 2}, "There is no key 'nmae': did you mean 'name'?"),
        ({"count": 1, "qqqq": 2}, "There is no key 'qqqq': choose from count, on, name,"),
        ({"count": 1, "inner": {"raet": 2}}, "There is no key 'inner.raet': did you mean 'rate'?"),
        ({"count": 1.5}, "count is 1.5, which should be a whole number."),
        ({"count": True}, "count is True, which should be a whole number."),
        ({"count": float("inf")}, "count is inf, which should be a whole number."),
        ({"count": 1, "inner": {"rate": "nan"}}, "inner.rate is 'nan', which should be a number."),
        ({"count": 1, "on": "yes"}, "on is 'yes', which should be true or false."),
        ({"count": 1, "name": 3}, "name is 3, which should be a text."),
        ({"count": 1, "path": 3}, "path is 3, which should be a path."),
        ({"count": 1, "pair": [1]}, "pair has 1 entries, which should be 2."),
        ({"count": 1, "pair": [1, "x"]}, "pair[1] is 'x', which should be a whole number."),
        ({"count": 1, "words": "u"}, "words is 'u', which should be a list."),
        ({"count": 1, "inner": 3}, "inner is not a table of keys and values."),
        ({"count": 1, "inner": {"kind": "c"}}, "inner.kind is 'c': choose one of a, b."),
        ({"count": 1, "several": [{"rate": "x"}]}, "several[0].rate is 'x', which should be a nu"),
        ({"count": 1, "options": 3}, "options is 3, which should be a table."),
        ({"count": 1, "inner": {"rate": -1}}, "The rate is negative."),
    ],
)
def test_errors_name_the_key_as_in_the_file(values: Any, message: str) -> None:
    with pytest.raises(CarlError) as caught:
        parse_dataclass(Outer, values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "rate: 1e-4\n"), ("a.json", '{"rate": 1e-4}')]
)
def test_files_are_loaded_by_their_suffix(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_yaml(tmp_path / name, lambda values: parse_dataclass(Inner, values)) == Inner(1e-4)


def test_errors_name_the_file(tmp_path: Path) -> None:
    def parse(values: Any) -> Inner:
        return parse_dataclass(Inner, values)

    (tmp_path / "a.yaml").write_text("raet: 1\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(CarlError, match=r"a\.yaml: There is no key 'raet': did you mean 'rate'"):
        load_yaml(tmp_path / "a.yaml", parse)
    with pytest.raises(ModelError, match=r"b\.yaml cannot be read as a YAML file"):
        load_yaml(tmp_path / "b.yaml", parse, ModelError)
    with pytest.raises(ModelError, match=r"c\.json cannot be read as a JSON file"):
        load_yaml(tmp_path / "c.json", parse, ModelError)


ATTACKS = {
    "depth": "a: " + "[" * 20_000,
    "closed depth": "a: " + "[" * 60 + "]" * 60,
    "repeats": "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "a list in itself": "a: &a [*a]",
    "integer": "rate: " + "9" * 5000,
    "empty integer": "rate: !!int ''",
    "another tag": "rate: !!timestamp x",
    "size": "# " + "x" * 300_000,
    "object": "rate: !!python/object/apply:os.system [echo]",
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_files_that_are_too_large_deep_or_invalid_raise_one_short_error(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CarlError, match=r"a\.yaml cannot be read as a YAML file") as caught:
        load_yaml(tmp_path / "a.yaml", lambda values: parse_dataclass(Inner, values))
    assert len(str(caught.value)) < 500


def test_long_values_are_shortened_in_errors() -> None:
    with pytest.raises(CarlError, match="rate is") as caught:
        parse_dataclass(Inner, {"rate": [["x" * 10_000] * 1000] * 1000})
    assert len(str(caught.value)) < 500


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(CarlError, match=r"name is '\\ud800', which should be a text"):
        parse_dataclass(Outer, {"count": 1, "name": "\ud800"})
