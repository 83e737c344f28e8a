"""Random spatial patterns: smooth fields, regions, vessels and cell nuclei.

Fields are (height, width) float32; lengths are in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft, ndimage

from carl.arrays import Float32Array

Shape = tuple[int, int]

_VESSEL_GENERATIONS = 4
"""Number of times that vessels branch, with the trunks."""
_TAPER = 0.4
"""Radius at the end of a vessel, relative to its start."""
_MURRAY = 2 ** (-1 / 3)
"""Radius of a branch relative to its parent, for two equal branches (Murray's law, 1926)."""


def smooth_fields(generator: Generator, n: int, shape: Shape, scale: float) -> Float32Array:
    """Draw (n, H, W) independent Gaussian random fields with an expected mean 0 and variance 1.

    White noise is filtered by FFT with a Gaussian of standard deviation `scale`: the fields vary
    over about twice that length. They are cut out of larger ones, whose opposite edges are
    correlated because the FFT is periodic.
    """
    scale = max(scale, 1e-3)
    margin = int(np.ceil(3 * scale))  # over which the correlation falls to a tenth
    padded = tuple(fft.next_fast_len(side + margin, real=True) for side in shape)
    noise = generator.standard_normal((n, *padded), dtype=np.float32)
    rows = np.fft.fftfreq(padded[0]).astype(np.float32)[:, None]
    columns = np.fft.rfftfreq(padded[1]).astype(np.float32)
    frequencies = rows**2 + columns**2
    # Variance 1 requires a mean power of 1 over all frequencies (Parseval's theorem).
    response = np.exp(-2 * np.pi**2 * scale**2 * frequencies)
    doubled = np.full(columns.size, 2.0)
    doubled[0] = 1
    if padded[1] % 2 == 0:
        doubled[-1] = 1
    response /= np.sqrt(
        (response.astype(np.float64) ** 2 @ doubled).sum() / (padded[0] * padded[1])
    )
    filtered = fft.irfft2(fft.rfft2(noise) * response.astype(np.float32), s=padded)
    return np.asarray(filtered[:, : shape[0], : shape[1]], np.float32)


def voronoi_regions(
    generator: Generator, shape: Shape, n: int, wobble: float, wobble_scale: float
) -> NDArray[np.uint8]:
    """Draw Voronoi regions of `n` random points, at most 255, with wavy borders.

    The waves have the amplitude `wobble` and the length `wobble_scale`, see `smooth_fields`.

    Returns:
        (H, W) uint8 index of each pixel's point, from 0; some points may have no pixels.
    """
    points = generator.uniform((0, 0), shape, (n, 2)).astype(np.float32)
    shift = wobble * smooth_fields(generator, 2, shape, wobble_scale)
    rows = np.arange(shape[0], dtype=np.float32)[:, None] + shift[0]
    columns = np.arange(shape[1], dtype=np.float32) + shift[1]
    squared = (rows - points[:, :1, None]) ** 2 + (columns - points[:, 1:, None]) ** 2
    return np.asarray(squared.argmin(axis=0), np.uint8)


def vessels(generator: Generator, shape: Shape, n: int, radius: float) -> Float32Array:
    """Draw `n` trees of branching vessels, whose trunks have the radius `radius`.

    Each vessel is a random walk with a drifting direction and a decreasing radius; branches leave
    their parent at random positions and are thinner by Murray's law.

    Returns:
        (H, W) path of light through a vessel relative to the largest diameter of a trunk: 0 outside
        vessels, 1 on the axis of a trunk.
    """
    width_at_axis = np.zeros(shape, np.float32)
    length = 2 + int(1.3 * max(shape))
    start = generator.uniform((0, 0), shape, (n, 2))
    towards = np.array(shape) / 2 - start
    heading = np.arctan2(towards[:, 0], towards[:, 1]) + generator.normal(0, 0.6, n)
    for generation in range(_VESSEL_GENERATIONS):
        bends = generator.normal(0, 0.06, (heading.size, length)).cumsum(axis=1)
        angles = heading[:, None] + bends + generator.normal(0, 0.15, bends.shape)
        steps = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        paths = start[:, None] + steps.cumsum(axis=1)
        here = np.rint(paths).astype(int).reshape(-1, 2)
        inside = ((here >= 0) & (here < shape)).all(axis=1)
        width = radius * _MURRAY**generation * np.linspace(1, _TAPER, length, dtype=np.float32)
        widths = np.broadcast_to(width, (heading.size, length)).ravel()[inside]
        np.maximum.at(width_at_axis, (here[inside, 0], here[inside, 1]), widths)
        parents = generator.integers(0, heading.size, 2 * heading.size)
        positions = generator.integers(0, length // 2, parents.size)
        start = paths[parents, positions]
        turn = generator.choice((-1.0, 1.0), parents.size) * generator.uniform(0.4, 1, parents.size)
        heading = angles[parents, positions] + turn
        length = max(2, length // 2)
    if not width_at_axis.any():
        return width_at_axis
    distance, (rows, columns) = ndimage.distance_transform_edt(
        width_at_axis == 0, return_indices=True
    )
    local = width_at_axis[rows, columns]
    chord = np.sqrt(np.maximum(1 - (distance / (local + 0.5)) ** 2, 0))
    return np.asarray(chord * local / radius, np.float32)


def ridges(generator: Generator, shape: Shape, scale: float) -> Float32Array:
    """Draw a net of thin lines, like capillaries: the zero crossings of a smooth field.

    The meshes are a few times wider than `scale`, see `smooth_fields`.

    Returns:
        (H, W) from 0 to 1 on the lines.
    """
    field = smooth_fields(generator, 1, shape, scale)[0]
    return np.asarray(np.exp(-((4 * field) ** 2)), np.float32)


def nuclei(
    generator: Generator, shape: Shape, density: Float32Array, radius: float
) -> Float32Array:
    """Draw cell nuclei that do not overlap: discs with irregular outlines and soft edges.

    They fill the fraction `density` (H, W) of the area, up to about a half. Their radii deviate
    from `radius` by at most a third.

    Returns:
        (H, W) from 0 outside nuclei to 1 inside.
    """
    probability = density / (np.pi * radius**2)
    seeds = generator.random(shape, dtype=np.float32) < probability
    if not seeds.any():
        return np.zeros(shape, np.float32)
    distance, (rows, columns) = ndimage.distance_transform_edt(~seeds, return_indices=True)
    sizes = radius * generator.uniform(0.67, 1.33, shape).astype(np.float32)
    outline = 0.25 * radius * smooth_fields(generator, 1, shape, radius / 2)[0]
    return np.asarray(np.clip(sizes[rows, columns] + outline - distance + 0.5, 0, 1), np.float32)
