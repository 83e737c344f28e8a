"""Mutants and attack files of every format are read or refused, in bounded time and memory."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from mutants import FAILURES, Report, mutant_names, run, table, write_mutant
from specimens import PIXELS, Specimen, all_specimens

from carl.errors import CarlError

ONLY_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits the memory and time of one process"
)
SECONDS = 60.0
N_LENGTHS = 24
"""Prefixes of each file: as many from its start, from its end and from all of it."""


def written(specimen: Specimen, folder: Path) -> Path:
    """Write the files of a specimen; return the one that is mutated."""
    for name, content in specimen.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / specimen.mutated


@pytest.mark.parametrize("specimen", all_specimens(), ids=lambda each: each.name)
def test_an_intact_file_is_read_and_a_prefix_of_it_is_never_read_as_another_cube(
    specimen: Specimen, tmp_path: Path
) -> None:
    path = written(specimen, tmp_path)
    content = path.read_bytes()
    intact = specimen.read(tmp_path, lambda: None)
    if specimen.is_mapped:
        np.testing.assert_array_equal(intact, PIXELS)
    n = len(content)
    lengths = {
        *range(N_LENGTHS),
        *range(n - N_LENGTHS, n),
        *np.linspace(0, n, N_LENGTHS, dtype=int),
    }
    for length in lengths & {*range(n)}:
        path.write_bytes(content[:length])
        try:
            found = specimen.read(tmp_path, lambda: None)
        except CarlError:
            continue
        # The missing part may hold no pixels but a directory of pages or wavelengths.
        if specimen.is_mapped:
            np.testing.assert_array_equal(found, PIXELS)


def test_a_mutant_is_the_same_each_time(tmp_path: Path) -> None:
    for name in islice(mutant_names(formats=["npz", "recipe of training"]), 20):
        contents = []
        for time in ("first", "second"):
            folder = tmp_path / name.replace(":", " ") / time
            folder.mkdir(parents=True)
            write_mutant(name, 0, folder)
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert contents[0] == contents[1]


@ONLY_LINUX
def test_failures_of_every_kind_are_noticed_and_the_run_goes_on() -> None:
    names = iter([*(f"control:{kind}" for kind in FAILURES), "npz:0"])
    report = Report()
    for result in run(names, hang_seconds=5.0):
        report.add(result)
    found = {each.name: each.outcome for each in report.failures}
    assert found == {f"control:{kind}": kind for kind in FAILURES}
    assert report.total == len(FAILURES) + 1
    assert table(report).splitlines()[-1].split()[:2] == ["all", str(report.total)]


@ONLY_LINUX
def test_attack_files_are_read_or_refused_in_one_sentence() -> None:
    names = mutant_names(formats=["attack"])
    assert [each for each in run(names) if each.outcome in FAILURES] == []


@ONLY_LINUX
def test_mutants_are_read_or_refused_in_one_sentence() -> None:
    names = mutant_names(formats=[each.name for each in all_specimens()])
    assert [each for each in run(names, seconds=SECONDS) if each.outcome in FAILURES] == []
