"""Compute learning-rate schedules."""

from __future__ import annotations

from math import cos, pi


def warmup_cosine(fraction: float, warmup: float, final: float = 0.0) -> float:
    """Return the learning rate at a point of a training, as a fraction of its peak.

    The rate rises linearly from 0 to the peak during the warm-up and then falls along half a
    cosine (Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts").

    Args:
        fraction: completed fraction of the training; the rate stays at `final` beyond 1.
        warmup: fraction of the training at which the rate reaches its peak.
        final: learning rate at the end, as a fraction of the peak.

    Examples:
        >>> [round(warmup_cosine(fraction, 0.1), 2) for fraction in (0.05, 0.1, 0.55, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if fraction < warmup:
        return fraction / warmup
    if fraction >= 1:
        return final
    return final + (1 - final) * 0.5 * (1 + cos(pi * (fraction - warmup) / (1 - warmup)))
