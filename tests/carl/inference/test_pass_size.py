from __future__ import annotations

import json
from pathlib import Path

import pytest

from carl.inference.folded import ComputeBudget
from carl.inference.pass_size import SMALLEST, PassSizes
from carl.model import CARL


def work(sizes: PassSizes, n_patches: int, best: int) -> list[int]:
    """The sizes of passes over so many patches, where `best` takes the least time for a patch."""
    taken = []
    while n_patches:
        size = min(sizes.next(n_patches), n_patches)
        sizes.took(size, size * (1 if size == best else 2))
        taken.append(size)
        n_patches -= size
    return taken


def test_the_quickest_size_is_found_on_the_work_itself_and_remembered(
    tiny_model: CARL, carl_home: Path
) -> None:
    sizes = PassSizes(tiny_model, "float32", 600)
    assert sizes.remembered is None
    best = sizes.candidates[-1]
    taken = work(sizes, 5000, best)
    assert sum(taken) == 5000
    assert max(taken[-40:-1]) - min(taken[-40:-1]) <= 1  # equal parts of what is left
    assert taken[-2] == pytest.approx(best, rel=0.1)
    again = PassSizes(tiny_model, "float32", 600)
    assert again.remembered == best
    assert set(work(again, 10 * best, best)) == {best}
    assert list(json.loads((carl_home / "measured.json").read_text()).values()) == [best]
    others = (
        PassSizes(tiny_model, "bf16", 600),
        PassSizes(tiny_model, "float32", 601),
        PassSizes(tiny_model, "float32", 600, ComputeBudget(1, 3)),
    )
    assert all(other.remembered is None for other in others)


def test_of_sizes_that_take_the_same_time_the_largest_is_best(tiny_model: CARL) -> None:
    sizes = PassSizes(tiny_model, "float32", 600)
    seconds = dict(zip(sizes.candidates, (1.0, 1.04, 1.2), strict=True))
    while sizes.remembered is None:
        size = sizes.next(5000)
        sizes.took(size, size * seconds[size])
    assert sizes.remembered == sizes.candidates[1]


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_little_work_is_no_trial_and_is_shared_out_evenly(tiny_model: CARL, n_workers: int) -> None:
    sizes = PassSizes(tiny_model, "float32", 6, None, n_workers)
    taken = work(sizes, 100, SMALLEST)
    assert sum(taken) == 100
    assert len(taken) == n_workers
    assert max(taken) - min(taken) < n_workers
    assert sizes.remembered is None


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 3}', "nonsense"])
def test_a_damaged_memory_is_no_memory(tiny_model: CARL, carl_home: Path, text: str) -> None:
    (carl_home / "measured.json").write_text(text)
    sizes = PassSizes(tiny_model, "float32", 600)
    assert sizes.remembered is None
    best = sizes.candidates[0]
    work(sizes, 5000, best)
    assert PassSizes(tiny_model, "float32", 600).remembered == best


def test_a_memory_that_cannot_be_written_does_no_harm(tiny_model: CARL, carl_home: Path) -> None:
    (carl_home / "measured.json").mkdir()
    sizes = PassSizes(tiny_model, "float32", 600)
    best = sizes.candidates[0]
    work(sizes, 5000, best)
    assert sizes.remembered == best


def test_a_remembered_size_out_of_bounds_is_not_believed(tiny_model: CARL, carl_home: Path) -> None:
    sizes = PassSizes(tiny_model, "float32", 600)
    best = sizes.candidates[0]
    work(sizes, 5000, best)
    path = carl_home / "measured.json"
    told = json.loads(path.read_text())
    elsewhere = carl_home / "other"
    elsewhere.mkdir()
    (elsewhere / "measured.json").write_text(json.dumps(dict.fromkeys(told, 10**9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARL_HOME", str(elsewhere))
        assert PassSizes(tiny_model, "float32", 600).remembered is None


def test_large_networks_take_few_patches_at_once(tiny_model: CARL) -> None:
    assert PassSizes(tiny_model, "float32", 100_000).candidates == [SMALLEST]
