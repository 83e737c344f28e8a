from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from carl.pretraining.ema import momentum_at, update_teacher


def test_momentum_rises_linearly_and_stays() -> None:
    values = [momentum_at(step, 100) for step in (0, 50, 100, 150)]
    assert values == pytest.approx([0.996, (0.996 + 0.99999) / 2, 0.99999, 0.99999])


def test_the_teacher_is_the_average_of_past_students() -> None:
    student = nn.Linear(3, 2)
    teacher = copy.deepcopy(student).requires_grad_(False)
    expected = student.weight.detach().clone()
    for _ in range(4):
        with torch.no_grad():
            student.weight.add_(torch.randn(2, 3))
        expected = 0.9 * expected + 0.1 * student.weight.detach()
        update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, expected)
    assert teacher.weight.grad_fn is None
