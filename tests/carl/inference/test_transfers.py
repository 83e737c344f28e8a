from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from carl.inference import transfers
from carl.inference.transfers import Upload, uploads

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def strips() -> Iterator[Tensor]:
    return (torch.full((2, 4, 8), float(number)) for number in range(4))


def test_in_main_memory_nothing_is_copied() -> None:
    strip = torch.ones(2, 4, 8)
    assert Upload(strip, CPU).take(CPU) is strip
    values = [int(upload.take(CPU)[0, 0, 0]) for upload in uploads(strips(), CPU)]
    assert values == [0, 1, 2, 3]


def test_the_next_upload_starts_before_one_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(
        transfers.Upload, "_start", lambda self, device: started.append(int(self.source[0, 0, 0]))
    )
    seen = []
    for upload in uploads(strips(), CUDA):
        seen.append((int(upload.source[0, 0, 0]), len(started)))
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_what_was_meant_for_a_card_can_be_used_after_leaving_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfers.Upload, "_start", lambda self, device: None)
    strip = torch.ones(2, 4, 8)
    assert Upload(strip, CUDA).take(CPU) is strip
