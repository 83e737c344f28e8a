"""How often is a shifted axis of wavelengths found, how accurately, and how often is one invented?

Every real cube is examined as it is, and with its wavelengths shifted by known amounts. A hit is a
shift that is reported with the right sign and within 8 nm. Simulated organs stand in for cubes
with haemoglobin, of which no real one is at hand, and simulated stained sections join the real one.

The second table repeats this with thresholds that were chosen without the cube: the smallest share
of each line is set halfway between the cubes that show the line and those that do not, its spread
by its positions, both without the cube that is examined.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from machine import machine_line

from carl.cube import SpectralCube
from carl.files import resource_path
from carl.io import read_cube
from carl.simulation import known_camera, simulate_scene
from carl.spectra import known_lines
from carl.spectra.known_lines import (
    FAMILIES,
    AxisShift,
    LineFamily,
    LineFit,
    axis_shift,
    find_lines,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHIFTS = (0.0, 5.0, -5.0, 10.0, -10.0, 20.0, -20.0, 30.0, -30.0)
TOLERANCE_NM = 8.0
LOWEST_SHARE = 0.3
"""Share from which a fit takes part in the choice of thresholds."""
SMALLEST_SPREAD_NM = 5.0
"""Floor of a spread that few cubes choose: lines of two of one camera would agree by chance."""


@dataclass(frozen=True, eq=False)
class Case:
    """A cube, and the lines that its content is known to have, by the first word of their names."""

    name: str
    cube: SpectralCube
    lines: tuple[str, ...] = ()


def cases() -> list[Case]:
    """Return the cubes at hand: real ones, tissue that is simulated, and noise."""
    labelled, airborne = SHARED / "labelled", SHARED / "spechomo_airborne"
    hyspex = "Bavaria_farmland_LMU_Hyspex_subset.hdr"
    files = [
        ("hysu", labelled / "hysu" / "hysu.npz", ("oxygen", "the")),
        ("muufl", labelled / "muufl" / "muufl.npz", ("the",)),
        ("samson", labelled / "samson" / "samson.npz", ("oxygen", "the")),
        ("aviris", airborne / "AV_mastercal_testdata.hdr", ("water", "the")),
        ("hyspex 325", airborne / "bavaria_hyspex_a742fb12ea29" / hyspex, ("water", "the")),
        ("hyspex 232", airborne / "bavaria_hyspex_cf273f1212ea" / hyspex, ("water", "the")),
        ("fenix rock", SHARED / "specim_fenix_hippo" / "image.hdr", ()),
        ("corn, raw", SHARED / "plantcv_envi" / "corn-kernel-hyperspectral.hdr", ()),
        ("dark frame", SHARED / "plantcv_envi" / "darkReference.hdr", ()),
        ("ftir map", SHARED / "openspecy_ftir_map" / "CA small UF.hdr", ()),
        ("chondro", labelled / "chondro" / "chondro.npz", ()),
        ("landsat 7", labelled / "nc_landsat" / "nc_landsat7.npz", ()),
        ("sentinel 2", labelled / "rstoolbox" / "sen2_brazil.npz", ()),
    ]
    found = [
        Case(name, read_cube(path, variable="cube"), lines)
        for name, path, lines in files
        if path.is_file()
    ]
    found.append(Case("stained section", read_cube(resource_path("sample", "bladder.tif"))))
    generator = np.random.default_rng(0)
    for camera in ("tivita", "specim-fx10"):
        for seed in (2, 3):
            for kind, lines in (("organ", ("haemoglobin",)), ("section", ())):
                scene = simulate_scene(
                    np.random.default_rng(seed), (48, 48), known_camera(camera), kind
                )
                found.append(Case(f"{camera} {kind} {seed}", scene.cube, lines))
    noise = generator.normal(1, 0.05, (40, 40, 200)).astype(np.float32)
    found.append(Case("noise", SpectralCube(noise, np.linspace(400, 2400, 200))))
    found.append(Case("colours", SpectralCube(noise[..., :3], [620, 550, 460])))
    return found


def shifted(cube: SpectralCube, shift: float) -> SpectralCube:
    """Return the cube with wavelengths that are wrong by a shift in nm."""
    return cube if cube.wavelengths is None else cube.with_wavelengths(cube.wavelengths + shift)


def is_hit(found: AxisShift | None, shift: float) -> bool:
    """Return whether the reported correction undoes a shift."""
    return found is not None and abs(found.shift_nm + shift) <= TOLERANCE_NM


def loose_fits(cubes: Sequence[Case]) -> dict[str, tuple[LineFit, ...]]:
    """Return what nearly any fit finds in each cube as it is, by the names of the cubes."""
    loose = [replace(family, min_share=LOWEST_SHARE) for family in FAMILIES]
    return {case.name: find_lines(case.cube, loose) for case in cubes}


def chosen_without(
    case: Case, cubes: Sequence[Case], fits: dict[str, tuple[LineFit, ...]]
) -> tuple[LineFamily, ...]:
    """Return the line families with shares and spreads that the other cubes choose.

    A line that no other cube has is left out.
    """
    others = [(other, line) for other in cubes if other is not case for line in fits[other.name]]
    chosen = []
    for family in FAMILIES:
        present, absent = [], [LOWEST_SHARE]
        for other, line in others:
            if line.family == family.name and family.name.split()[0] in other.lines:
                present.append(line)
            elif line.family == family.name:
                absent.append(line.share)
        if present:
            lowest = min(line.share for line in present)
            spread = float(np.sqrt(np.mean([line.shift_nm**2 for line in present])))
            share = (lowest + min(lowest, max(absent))) / 2
            spread = max(SMALLEST_SPREAD_NM, spread)
            chosen.append(replace(family, min_share=share, spread_nm=spread))
    return tuple(chosen)


def print_table(cubes: Sequence[Case], families: dict[str, tuple[LineFamily, ...]]) -> None:
    """Print what is reported for each cube and shift, and the rates over all cubes with lines."""
    print(f"{'cube':<22}" + "".join(f"{shift:>+8.0f}" for shift in SHIFTS) + "   lines as it is")
    hits = dict.fromkeys(SHIFTS, 0)
    wrong = dict.fromkeys(SHIFTS, 0)
    errors: list[float] = []
    for case in cubes:
        cells = []
        for shift in SHIFTS:
            found = axis_shift(find_lines(shifted(case.cube, shift), families[case.name]))
            cells.append("·" if found is None else f"{found.shift_nm:+.0f}")
            if shift and is_hit(found, shift):
                hits[shift] += bool(case.lines)
                errors.append(abs(found.shift_nm + shift) if found else 0.0)
            elif found is not None:
                wrong[shift] += 1
        lines = find_lines(case.cube, families[case.name])
        named = ", ".join(
            f"{line.family} {line.shift_nm:+.0f} ({line.share:.2f})" for line in lines
        )
        print(f"{case.name:<22}" + "".join(f"{cell:>8}" for cell in cells) + f"   {named}")
    n = sum(bool(case.lines) for case in cubes)
    print(f"{f'hits of {n}':<22}" + "".join(f"{hits[s]:>8}" if s else f"{'':>8}" for s in SHIFTS))
    print(f"{'wrong shifts':<22}" + "".join(f"{wrong[shift]:>8}" for shift in SHIFTS))
    print(f"false alarms on {len(cubes)} cubes as they are: {wrong[0.0]}")
    if errors:
        print(f"median error of the hits: {np.median(errors):.1f} nm, largest {max(errors):.1f} nm")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--thresholds",
        choices=("both", "shipped", "chosen"),
        default="both",
        help="the table with the thresholds as shipped, or chosen without the cube",
    )
    options = parser.parse_args()
    cubes = cases()
    print(machine_line())
    print(f"Smallest shift that is reported: {known_lines.SMALLEST_SHIFT_NM:.0f} nm.")
    print("Below: the shift that is reported (· none), by the shift of the wavelengths.")
    if options.thresholds != "chosen":
        print("\nThresholds as shipped")
        print_table(cubes, {case.name: FAMILIES for case in cubes})
    if options.thresholds != "shipped":
        print("\nThresholds chosen without the cube")
        fits = loose_fits(cubes)
        print_table(cubes, {case.name: chosen_without(case, cubes, fits) for case in cubes})


if __name__ == "__main__":
    main()
