"""Make the bundled sample: an H&E stained section of bladder from a hyperspectral microscope.

The sample has the whole field of view, with all labelled regions. To make it small, each band is
rounded from 16 to 8 bits, in steps slightly wider than its noise on bare glass. Rounding raises the
standard deviation of the noise by about a twentieth.

    python scripts/make_sample.py [FOLDER OF THE SOURCE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from carl.files import atomic_write
from carl.io import LabelClass, default_colour, read_cube, read_labels, write_labels
from carl.wavelengths import camera

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "data" / "hims_bladder"
TARGET = ROOT / "resources" / "sample"

CLASSES = ("lumen", "urothelium", "stroma", "blood")
GLASS = 1  # label of bare glass
TRANSMITTANCE_PER_COUNT = 1e-4  # of the 16-bit source
STEPS_PER_NOISE = 1.1  # rounding step, in standard deviations of the noise of a band


def noise(transmittance: NDArray[np.float32], on_glass: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation of the noise of each band, measured on bare glass.

    Second differences of 2 × 2 pixels remove level and slope, so that uneven illumination does not
    count. Their median absolute deviation ignores specks of dust.

    Args:
        transmittance: (C, H, W).
        on_glass: (H, W), True on bare glass.
    """
    difference = np.diff(np.diff(transmittance, axis=1), axis=2) / 2
    all_glass = on_glass[1:, 1:] & on_glass[:-1, 1:] & on_glass[1:, :-1] & on_glass[:-1, :-1]
    return 1.4826 * np.median(np.abs(difference[:, all_glass]), axis=1).astype(np.float64)


def main() -> None:
    """Write the cube and its labels into ``resources/sample``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", type=Path, default=SOURCE)
    source = parser.parse_args().source

    cube = read_cube(source / "hims_bladder_uint16.tif", camera="hims")
    labels = read_labels(source / "labels.png", cube.shape).labels
    transmittance = np.moveaxis(cube.to_numpy(), -1, 0) * np.float32(TRANSMITTANCE_PER_COUNT)
    steps = np.round(STEPS_PER_NOISE * noise(transmittance, labels == GLASS), 5)
    stored = np.clip(np.rint(transmittance / steps[:, None, None]), 0, 255).astype(np.uint8)

    metadata = {
        "axes": "CYX",
        "quantity": "transmittance",
        "wavelengths": camera("hims").wavelengths.tolist(),
        "wavelength_unit": "nm",
        "scale": steps.tolist(),
        "description": "H&E stained human bladder, FDA HIMS hyperspectral microscope",
    }
    with atomic_write(TARGET / "bladder.tif") as temporary:
        tifffile.imwrite(
            temporary,
            stored,
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 9},
            predictor=True,
            metadata=metadata,
        )
    named = [
        LabelClass(value, name, default_colour(value)) for value, name in enumerate(CLASSES, 1)
    ]
    write_labels(TARGET / "bladder_labels.png", labels, named)
    size = (TARGET / "bladder.tif").stat().st_size / 1e6
    error = np.median(np.abs(stored * steps[:, None, None] - transmittance))
    print(f"Wrote bladder.tif, {size:.1f} MB; median error {error:.4f} in transmittance.")


if __name__ == "__main__":
    main()
