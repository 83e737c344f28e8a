"""Reading of YAML and JSON configuration files into dataclasses.

Every error message names the key as it is written in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from carl.errors import CarlError
from carl.files import read_text

T = TypeVar("T")

_MAX_FILE_BYTES = 1 << 18
"""Largest size of a file: PyYAML takes several seconds for each megabyte."""
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
"""Largest number of values of a file, and of tables and lists around one."""
_MAX_SHOWN = 80
"""Characters of a value in an error message; a list may have four times as many."""


def load_yaml(
    path: str | Path, parse: Callable[[Any], T], error_type: type[CarlError] = CarlError
) -> T:
    """Read a YAML file, or a JSON file by its suffix, and parse the values in it.

    Raises:
        CarlError: the file cannot be read (as `error_type`), or `parse` raises one, to which the
            name of the file is added.
    """
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    try:
        text = read_text(path, _MAX_FILE_BYTES)
        values = json.loads(text) if is_json else yaml.safe_load(text)
        _check_size(values)
    except Exception as error:  # PyYAML raises nearly any type for values with a wrong tag
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kind = "JSON" if is_json else "YAML"
        raise error_type(f"{path} cannot be read as a {kind} file ({reason}).") from error
    try:
        return parse(values)
    except CarlError as error:
        raise type(error)(f"{path}: {error}") from error


def _check_size(values: Any) -> None:
    """Check the number of values and their depth, counting what YAML repeats by reference.

    Raises:
        ValueError: there are too many, as where a list contains itself, or one is nested too
            deeply.
    """
    n_values, waiting = 0, [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        n_values += 1
        if n_values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ValueError("it has too many values, or they are nested too deeply")
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, list | tuple | set):
            continue
        waiting.extend((each, depth + 1) for each in value)


def parse_dataclass(cls: type[T], values: Any, where: str = "") -> T:
    """Build a dataclass from a mapping of field names to values.

    Args:
        cls: the dataclass; its fields are dataclasses, bool, int, float, str, Path, Literal,
            mappings, tuples of these, or optional ones of these.
        values: the mapping. Numbers may be text, as PyYAML reads 1e-4; empty mappings may be None;
            instances of the dataclasses are used as they are.
        where: path of `values` within the file, for error messages; empty for the whole file.

    Raises:
        CarlError: a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise CarlError(f"{where or 'The file'} is not a table of keys and values.")
    known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]  # a dataclass
    for key in values:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(known)}."
            raise CarlError(f"There is no key '{_path(where, key)}': {hint}")
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise CarlError(f"The key '{_path(where, name)}' is missing.")
    hints = get_type_hints(cls)
    return cls(
        **{key: _value(hints[key], value, _path(where, key)) for key, value in values.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert a value to the type its field declares."""
    if get_origin(hint) in (UnionType, Union):
        options = get_args(hint)
        if value is None and NoneType in options:
            return None
        fitting = (each for each in options if isinstance(each, type) and isinstance(value, each))
        hint = next(fitting, next(each for each in options if each is not NoneType))
    if hasattr(hint, "__dataclass_fields__"):
        return value if isinstance(value, hint) else parse_dataclass(hint, value, where)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, where)
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        choices = ", ".join(map(str, get_args(hint)))
        raise CarlError(f"{where} is {_shown(value)}: choose one of {choices}.")
    return _plain(hint, value, where)


def _plain(hint: Any, value: Any, where: str) -> Any:
    try:
        if hint is bool and isinstance(value, bool):
            return value
        if hint is int and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if hint is float and not isinstance(value, bool) and isfinite(float(value)):
            return float(value)
        if hint is str and isinstance(value, str):
            value.encode()  # a UnicodeEncodeError, which is a ValueError, if it is not Unicode
            return value
        if hint is Path and isinstance(value, str | Path):
            return Path(value)
        if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
            return {} if value is None else dict(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise CarlError(f"{where} is {_shown(value)}, which should be {_WORDS.get(hint, 'a table')}.")


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


def _shown(value: Any) -> str:
    """Return the start of the representation of a value; not all of it, which may be very long."""
    shown = Repr()
    shown.maxstring = shown.maxother = shown.maxlong = _MAX_SHOWN
    text = shown.repr(value)
    return text if len(text) <= 4 * _MAX_SHOWN else f"{text[: 4 * _MAX_SHOWN]}…"


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise CarlError(f"{where} is {_shown(value)}, which should be a list.")
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        raise CarlError(f"{where} has {len(value)} entries, which should be {len(hints)}.")
    return tuple(
        _value(hint, each, f"{where}[{number}]")
        for number, (hint, each) in enumerate(zip(hints, value, strict=True))
    )


def _path(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
