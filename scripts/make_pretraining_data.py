"""Convert the Sentinel-2 series used by the recipes of carl-nano to ENVI cubes.

    python scripts/make_pretraining_data.py
    carl pretrain resources/recipes/carl-nano.yaml
    carl pretrain resources/recipes/carl-nano-cameras.yaml

The series of eo-learn (MIT licence, contains Copernicus Sentinel data) is one array with a time
axis. Each date becomes a cube in ``build/pretraining/sentinel2``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carl.cube import SpectralCube
from carl.io import write_cube

ROOT = Path(__file__).resolve().parents[1]
SERIES = ROOT.parent / "shared" / "data" / "sentinel2_eolearn" / "REFERENCE_SCENES.npy"
TARGET = ROOT / "build" / "pretraining" / "sentinel2"
BANDS_NM = (443, 492, 560, 665, 704, 741, 783, 833, 865, 945, 1374, 1614, 2202)


def main() -> None:
    """Write one cube for every date."""
    for number, pixels in enumerate(np.load(SERIES)):
        cube = SpectralCube(pixels, wavelengths=BANDS_NM, name=f"date_{number}")
        write_cube(TARGET / f"date_{number}.hdr", cube)
    print(f"{number + 1} cubes are in {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
