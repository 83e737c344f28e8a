"""Run the examples of all docstrings; every public class has one."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from inspect import isclass
from pathlib import Path

import pytest

import carl

_FINDER = doctest.DocTestFinder(exclude_empty=True)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_DOCUMENTED = (
    "carl",
    "carl.inference",
    "carl.io",
    "carl.learning",
    "carl.model",
    "carl.model.heads",
    "carl.pretraining",
    "carl.simulation",
)
"""Packages of the API reference."""
_MODULES = [
    import_module(found.name)
    for found in pkgutil.walk_packages(carl.__path__, "carl.")
    if found.name != "carl.__main__"
]


def _examples() -> list[doctest.DocTest]:
    """Return the docstrings with examples of all modules, functions, classes and methods."""
    found = [test for module in _MODULES for test in _FINDER.find(module)]
    return [test for test in found if test.examples]


def _public_classes() -> dict[str, type]:
    """Return the classes, except exceptions, that the documented packages export, by full name."""
    packages = map(import_module, _DOCUMENTED)
    exported = [getattr(package, name) for package in packages for name in package.__all__]
    return {
        f"{each.__module__}.{each.__qualname__}": each
        for each in exported
        if isclass(each) and not issubclass(each, BaseException)
    }


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=_FLAGS).run(example, out=report.append)
    assert results.failed == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(_public_classes()))
def test_public_classes_have_an_example(name: str):
    public = _public_classes()[name]
    assert any(test.examples for test in _FINDER.find(public, name))
