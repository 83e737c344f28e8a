"""The five steps of the dock: what each needs, and the one line that says what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.model import ModelInfo, list_models
from carl.spectra.colour import covers_visible
from napari_carl.display import DisplayMode
from napari_carl.jobs import JobKind
from napari_carl.segmentation import SegmentationResult
from napari_carl.session import Session


class Step(IntEnum):
    """The steps from a file to files, in order."""

    CUBE = 1
    EXPLORE = 2
    ANNOTATE = 3
    LEARN = 4
    EXPORT = 5


@dataclass(frozen=True)
class StepState:
    """Whether a step has what it needs, and one line about it: what is missing, or how it is."""

    ready: bool
    line: str


def step_state(session: Session, step: Step) -> StepState:
    """The state of one step of a session."""
    if step is Step.CUBE:
        return StepState(True, _cube_line(session))
    if session.cube is None:
        return StepState(False, "Needs a cube.")
    if step is Step.EXPLORE:
        return StepState(True, "")
    if step is Step.ANNOTATE:
        return StepState(True, _strokes_line(session))
    if step is Step.LEARN:
        return StepState(session.has_wavelengths, _learn_line(session))
    if session.segmentation is None:
        return StepState(False, "Needs a map.")
    if session.segmentation.is_preview:
        return StepState(False, "Needs the whole map, which is on its way.")
    return StepState(True, _export_line(session))


def _cube_line(session: Session) -> str:
    if session.jobs.state(JobKind.OPENING) is not None:
        return "Opening …"
    if session.cube is None:
        return "Open a file, or drop one on the window."
    if session.cube.wavelengths is None:
        return "Wavelengths are missing: say where they are."
    path = session.cube.metadata.get("path")
    return session.cube.name if path is None else Path(path).name


def _strokes_line(session: Session) -> str:
    if not session.counts:
        return "Paint a few strokes of each class."
    pixels = f"{sum(session.counts.values()):,} pixels"
    if len(session.counts) == 1:
        return f"{pixels} painted; a second class is missing."
    return f"{pixels} in {len(session.counts)} classes."


def _learn_line(session: Session) -> str:
    if not session.has_wavelengths:
        return "Needs the wavelengths of the cube."
    if session.segmentation is None and not session.can_learn:
        return "Needs strokes of two classes."
    if session.segmentation is None and session.jobs.state(JobKind.PRECOMPUTING) is not None:
        return "Having a first look at the cube …"
    if session.segmentation is None:
        return "No map yet."
    return _describe_learned(session.segmentation)


def _export_line(session: Session) -> str:
    if session.exports.files:
        return f"{len(session.exports.files)} files written."
    return ""


def describe_size(cube: SpectralCube) -> str:
    """Width, height and bands of a cube, and how many of these are good."""
    height, width, bands = cube.shape
    good = int(cube.good_bands.sum())
    return f"{width} × {height} px · {'' if good == bands else f'{good} of '}{bands} bands"


def describe_range(cube: SpectralCube) -> str:
    """First and last wavelength of a cube, "unknown" where they are."""
    if cube.wavelengths is None:
        return "unknown"
    return f"{cube.wavelengths.min():.0f}–{cube.wavelengths.max():.0f} nm"


def describe_shown(session: Session, shown: DisplayMode) -> str:
    """What is seen of the current cube: its colours, three bands, one band, or the embedding."""
    cube = session.cube
    if cube is None:
        return ""
    if shown is DisplayMode.TRUE_COLOUR:
        return "true colour" if covers_visible(cube) else "false colour"
    if shown is DisplayMode.THREE_BANDS:
        return " / ".join(band_name(cube.wavelengths, band) for band in session.composition)
    if shown is DisplayMode.EMBEDDING:
        return "embedding"
    number = f"band {session.band + 1}/{cube.n_bands}"
    if cube.wavelengths is None:
        return number
    return f"{band_name(cube.wavelengths, session.band)} · {number}"


def band_name(wavelengths: NDArray[np.float64] | None, band: int) -> str:
    """A band by its wavelength, or by its number where that is unknown."""
    return f"band {band + 1}" if wavelengths is None else f"{wavelengths[band]:.0f} nm"


@dataclass(frozen=True)
class NetworkOffer:
    """A network one can choose: in a few words, more to know about it, and whether it is here."""

    name: str
    text: str
    tip: str
    is_here: bool


def offered_networks() -> list[NetworkOffer]:
    """All networks that have a name, as they are on this computer."""
    return [_offer(info) for info in list_models()]


def _offer(info: ModelInfo) -> NetworkOffer:
    is_here = info.trained or not info.downloadable
    how = "trained" if info.trained else "untrained"
    if not is_here:
        how = "to be downloaded"
    text = f"{info.name} · {info.parameters / 1e6:.1f} M · {how}"
    tip = info.description[0].upper() + info.description[1:] + "."
    if not is_here:
        tip += f"\nNot on this computer yet: 'carl download {info.name}' in a shell fetches it."
    return NetworkOffer(info.name, text, tip, is_here)


def describe_network(session: Session) -> tuple[str, str]:
    """The network in a few words, and what one should know before trusting it, if anything."""
    info = next(info for info in list_models() if info.name == session.network.name)
    if session.network.is_tuned:
        return f"{info.name}, fine-tuned", ""
    notice = "" if info.trained else "Untrained: spectra and texture make the map."
    return _offer(info).text, notice


def _describe_learned(learned: SegmentationResult) -> str:
    """How good the map is and how long it took."""
    facts = [learned.origin] if learned.origin else []
    if learned.accuracy is not None:
        facts.append(f"left-out pixels {learned.accuracy:.0%} right")
    facts.append(f"{learned.seconds:.1f} s")
    if learned.is_preview:
        return "Coarse map; the whole one follows."
    if not learned.has_network:
        facts.append("network to follow")
    elif learned.fidelity is not None:
        facts.append(f"network in turbo ({learned.fidelity:.3f}), exact to follow")
    line = " · ".join(facts)
    return line[0].upper() + line[1:]


def describe_fine_tuning(session: Session) -> str:
    """What fine-tuning does, or what came of it."""
    run = session.fine_tuning
    if run is None:
        return ""
    if run.result is None:
        running = session.jobs.state(JobKind.FINE_TUNING) is not None
        return "" if running else "Stopped; the network is as it was."
    before, after = run.result.score_before, run.result.score_after
    verdict = "Kept" if run.result.kept else "Not kept"
    return f"{verdict}: {before:.2f} → {after:.2f} on held-out strokes."
