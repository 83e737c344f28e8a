"""How many patches to compute at once: tried on the work itself, and remembered."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

import torch

from carl.errors import OutputError
from carl.files import atomic_write
from carl.inference.folded import ComputeBudget, full_budget
from carl.inference.precision import Precision
from carl.model import CARL
from carl.user_folders import measurements_file

SMALLEST = 8
"""Patches: with fewer, overhead rules, and with none fewer, all sizes give the same bits."""
_BYTES = 1 << 20
"""Of all tokens and queries of a pass, about: they just fit the cache of a core."""
_AROUND = (0.5, 1.0, 2.0)
"""Times that, which are tried."""
_TRIALS = 2
"""Of each size; the first also warms up."""
_SAME = 1.05
"""Times the least: measurements vary by that much. Of such sizes the largest has fewest passes."""
_MOST_REMEMBERED = 500


class PassSizes:
    """Sizes of the passes through a network on a CPU.

    The first passes are of different sizes; the largest that took about the least time for a patch
    is used for all others, and remembered in a file for this processor, network, precision and
    number of bands.

    Args:
        model: the network.
        precision: it is computed in.
        n_bands: C.
        budget: how much of it is run.
        n_workers: that share the passes.

    Attributes:
        candidates: sizes to choose from, the smallest first.
        token_values: of the band tokens of a patch.
    """

    _lock = Lock()

    def __init__(
        self,
        model: CARL,
        precision: Precision,
        n_bands: int,
        budget: ComputeBudget | None = None,
        n_workers: int = 1,
    ) -> None:
        spectral = model.config.spec_encoder_kwargs
        dims = (spectral.embed_dim, spectral.num_heads)
        budget = budget or full_budget(model)
        self._key = " ".join(
            map(str, (_machine(), *dims, *budget, model.patch_size, precision, n_bands))
        )
        self.token_values = n_bands * spectral.embed_dim
        size = 2 if precision == "bf16" else 4
        self._usual = _BYTES // (size * (n_bands + budget.queries) * spectral.embed_dim)
        self.candidates = sorted({max(SMALLEST, int(self._usual * each)) for each in _AROUND})
        self._n_workers = n_workers
        self._untried = self.candidates * _TRIALS
        self._times: dict[int, list[float]] = {size: [] for size in self.candidates}
        self._equal: tuple[int, int] | None = None

    def next(self, n_left: int) -> int:
        """Patches to take now, of so many that are left."""
        best = self.remembered
        if best is None and self._untried and n_left > sum(self._untried):
            return self._untried.pop()
        best = best or self._best() or max(SMALLEST, self._usual)
        if self._equal is None or self._equal[0] != best:
            self._equal = best, self._equal_parts(n_left, best)
        return self._equal[1]

    def _equal_parts(self, n_patches: int, size: int) -> int:
        """About that size, so that all workers get as many parts, and these are equal."""
        rounds = -(-n_patches // (size * self._n_workers))
        n_parts = min(rounds * self._n_workers, max(1, n_patches // SMALLEST))
        return -(-n_patches // n_parts)

    def took(self, n_patches: int, seconds: float) -> None:
        """Learn what a pass took of a core."""
        if n_patches not in self._times or self.remembered is not None:
            return
        self._times[n_patches].append(seconds / n_patches)
        if all(len(self._times[size]) >= _TRIALS for size in self.candidates):
            self._remember()

    @property
    def remembered(self) -> int | None:
        """The best size, if it is known."""
        size = _known(str(measurements_file())).get(self._key)
        return size if size in self.candidates else None

    def _best(self) -> int | None:
        best = {size: min(times) for size, times in self._times.items() if times}
        least = min(best.values(), default=0.0)
        return max((size for size, time in best.items() if time <= _SAME * least), default=None)

    def _remember(self) -> None:
        best = self._best()
        assert best is not None
        path = measurements_file()
        with self._lock:
            known = _known(str(path))
            known[self._key] = best
            while len(known) > _MOST_REMEMBERED:
                del known[next(iter(known))]
            with suppress(OSError, OutputError):  # then it is measured again next time
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with atomic_write(path) as temporary:
                    temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")


@cache
def _known(path: str) -> dict[str, int]:
    """What a file remembers, read once; another program's later findings are not needed."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(told, dict):
        return {}
    return told


@cache
def _machine() -> str:
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), name)
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"
