"""Text of the dock: the state of each of its five steps, and descriptions of what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.model import ModelInfo, list_models
from carl.spectra.colour import covers_visible
from napari_carl.exports import Exported
from napari_carl.foreign_labels import MapScore
from napari_carl.image_stacks import ImageStack
from napari_carl.jobs import JobKind
from napari_carl.offers import PendingStrokes
from napari_carl.pictures import DisplayMode
from napari_carl.segmentation import SegmentationResult
from napari_carl.session import Session
from napari_carl.truth import Truth

_MAX_LISTED = 3
"""Number of existing files that are named."""


class Step(IntEnum):
    """The steps of the dock, in order."""

    CUBE = 1
    EXPLORE = 2
    ANNOTATE = 3
    LEARN = 4
    EXPORT = 5


@dataclass(frozen=True)
class StepState:
    """State of a step: whether it can be used, and one line on what is missing or what it did."""

    ready: bool
    line: str


def step_state(session: Session, step: Step) -> StepState:
    """Return the state of a step."""
    if step is Step.CUBE:
        return StepState(True, _cube_line(session))
    if session.cube is None:
        return StepState(False, "Open a cube first.")
    if step is Step.EXPLORE:
        return StepState(True, "")
    if step is Step.ANNOTATE:
        return StepState(True, _strokes_line(session))
    if step is Step.LEARN:
        return StepState(session.has_wavelengths, _learn_line(session))
    if session.segmentation is None:
        return StepState(False, "Segment the cube first.")
    if not session.segmentation_is_current:
        if session.segmentation_is_outdated:
            return StepState(False, "The map is out of date: press Segment first.")
        return StepState(False, "The map is being updated.")
    if session.segmentation.is_preview:
        return StepState(False, "Only a coarse label map so far; the full one is being computed.")
    return StepState(True, "")


def _cube_line(session: Session) -> str:
    if session.jobs.state(JobKind.OPENING) is not None:
        return "Opening …"
    if session.cube is None:
        return "Open a file, or drop one on the window."
    if session.cube.wavelengths is None:
        return "The wavelengths are missing: enter them below."
    path = session.cube.metadata.get("path")
    return session.cube.name if path is None else Path(path).name


def _strokes_line(session: Session) -> str:
    if not session.counts and session.model is not None:
        return "Draw strokes where the map of the loaded model is wrong."
    if not session.counts:
        return "Draw a few strokes for each class."
    pixels = f"{sum(session.counts.values()):,} pixels"
    if len(session.counts) == 1 and session.model is None:
        return f"{pixels} labelled; draw strokes for a second class."
    return f"{pixels} labelled in {len(session.counts)} classes."


def _learn_line(session: Session) -> str:
    if not session.has_wavelengths:
        return "Needs the wavelengths of the cube."
    if not session.can_segment:
        return "Needs strokes of two classes."
    if session.segmentation_is_outdated and session.segmentation is not None:
        return "The map is out of date: press Segment."
    if session.segmentation is not None:
        return _describe_segmentation(session, session.segmentation)
    if session.jobs.state(JobKind.PRECOMPUTING) is not None:
        return "Computing features of the cube …"
    return "No segmentation yet."


def _describe_segmentation(session: Session, result: SegmentationResult) -> str:
    """Describe the accuracy of a segmentation and what is still being computed."""
    if result.is_preview:
        is_computing = session.jobs.state(JobKind.PRECOMPUTING) is not None
        return f"Coarse label map{'; the full one follows' if is_computing else ''}."
    is_embedding = session.jobs.state(JobKind.EMBEDDING) is not None
    parts = [text for text in (result.origin, result.accuracy) if text]
    parts.append(f"{result.seconds:.1f} s")
    if not result.origin and not result.predictor.uses_network and is_embedding:
        parts.append("network features follow")
    elif result.fidelity is not None:
        follow = ", exact ones follow" if is_embedding else ""
        parts.append(f"approximate network features (fidelity {result.fidelity:.3f}){follow}")
    line = " · ".join(parts)
    return line[0].upper() + line[1:]


def describe_size(cube: SpectralCube) -> str:
    """Describe width, height and number of bands of a cube, and how many bands are good."""
    height, width, bands = cube.shape
    good = int(cube.good_bands.sum())
    return f"{width} × {height} px · {'' if good == bands else f'{good} of '}{bands} bands"


def describe_range(cube: SpectralCube) -> str:
    """Describe the wavelength range of a cube."""
    if cube.wavelengths is None:
        return "unknown"
    return f"{cube.wavelengths.min():.0f}–{cube.wavelengths.max():.0f} nm"


def describe_display(session: Session, mode: DisplayMode) -> str:
    """Describe how the current cube is displayed in a mode."""
    cube = session.cube
    if cube is None:
        return ""
    if mode is DisplayMode.TRUE_COLOUR:
        return "true colour" if covers_visible(cube) else "false colour"
    if mode is DisplayMode.THREE_BANDS:
        return " / ".join(band_name(cube.wavelengths, band) for band in session.composition)
    if mode is DisplayMode.EMBEDDING:
        return "embedding"
    number = f"band {session.band + 1}/{cube.n_bands}"
    if cube.wavelengths is None:
        return number
    return f"{band_name(cube.wavelengths, session.band)} · {number}"


def band_name(wavelengths: Float64Array | None, band: int) -> str:
    """Return the wavelength of a band with its unit, or its number if that is unknown."""
    return f"band {band + 1}" if wavelengths is None else f"{wavelengths[band]:.0f} nm"


@dataclass(frozen=True)
class NetworkOption:
    """A network that can be chosen.

    Attributes:
        name: as `carl.load_model` takes it.
        text: name, size and state.
        tip: description, and how to download it if it is not on this computer.
        is_available: whether it is on this computer.
    """

    name: str
    text: str
    tip: str
    is_available: bool


def network_options() -> list[NetworkOption]:
    """Return all named networks, with whether they are on this computer now."""
    return [_network_option(info) for info in list_models()]


def _network_option(info: ModelInfo) -> NetworkOption:
    is_available = info.trained or not info.downloadable
    state = "trained" if info.trained else "untrained"
    if not is_available:
        state = "not downloaded"
    text = f"{info.name} · {info.parameters / 1e6:.1f} M · {state}"
    tip = info.description[0].upper() + info.description[1:] + "."
    if not is_available:
        tip += f"\nTo download it, run 'carl download {info.name}' in a terminal."
    return NetworkOption(info.name, text, tip, is_available)


def describe_network(session: Session) -> tuple[str, str]:
    """Describe the network of a session, and return a warning if it is untrained."""
    info = next(info for info in list_models() if info.name == session.network.name)
    if session.network.is_tuned:
        return f"{info.name}, fine-tuned", ""
    warning = (
        "" if info.trained else "Untrained network: the segmentation relies on spectra and texture."
    )
    return _network_option(info).text, warning


def describe_export(exported: Exported) -> str:
    """Describe how many cubes were exported and where; a list of failures follows, if any."""
    n_cubes, n_files = len(exported.cubes), len(exported.files)
    folder = exported.request.folder
    if exported.request.cubes is None:
        return f"Map of {exported.cubes[0]} saved to {folder}: {_counted(n_files, 'file')}."
    n_all = n_cubes + len(exported.failures)
    text = f"{n_cubes} of {_counted(n_all, 'cube')} exported"
    if n_cubes:
        text += f" to {folder}: {_counted(n_files, 'file')}"
    return f"{text}. Not exported:" if exported.failures else f"{text}."


def describe_existing(existing: Sequence[Path]) -> str:
    """Describe files that an export would replace."""
    names = [path.name for path in existing]
    listed = ", ".join(names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += f" and {len(names) - _MAX_LISTED} more"
    verb = "exists" if len(names) == 1 else "exist"
    return f"{_counted(len(names), 'file')} {verb} in {existing[0].parent}: {listed}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def describe_fine_tuning(session: Session) -> str:
    """Describe the result of fine-tuning; empty while it runs."""
    run = session.fine_tuning
    if run is None:
        return ""
    if run.result is None:
        running = session.jobs.state(JobKind.FINE_TUNING) is not None
        return "" if running else "Stopped; the network is unchanged."
    before, after = run.result.score_before, run.result.score_after
    verdict = "Fine-tuned network kept" if run.result.kept else "Fine-tuned network discarded"
    return f"{verdict}: mIoU on held-out strokes {before:.2f} → {after:.2f}."


def describe_model(session: Session) -> str:
    """Describe the loaded model, or the one that waits for a decision; empty if there is none."""
    pending, model = session.pending_model, session.model
    if pending is not None:
        names = ", ".join(f"{each.value} {each.name}" for each in pending.predictor.classes)
        return f"The classes of {pending.path.name} ({names}) are not those of your strokes."
    return "" if model is None else f"Loaded {model.path.name}; strokes correct it."


def describe_image(image: ImageStack) -> str:
    """Describe an image that may be a cube: its size and which axis is that of the bands."""
    height, width, n_bands = image.shape
    which = "first" if image.band_axis == 0 else "last"
    return f"{width} × {height} px · {n_bands} bands along the {which} axis"


def describe_pending_strokes(pending: PendingStrokes) -> str:
    """Describe labels whose classes differ from those of the cube."""
    names = ", ".join(f"{each.value} {each.name}" for each in pending.classes)
    return f"The classes of '{pending.labels.name}' ({names}) are not those of this cube."


def describe_truth(truth: Truth) -> str:
    """Describe the score against the true labels; empty if the map is compared with none."""
    if truth.labels is None:
        return ""
    against = f"Against '{truth.labels.name}'"
    if truth.score is None:
        return f"{against}: waiting for a complete map."
    if not isinstance(truth.score, MapScore):
        return f"Against the truth: {truth.score}"
    scores = truth.score.scores
    how = "by name" if truth.score.is_by_name else "by number"
    return (
        f"{against}: accuracy {100 * scores.accuracy:.0f} %, mIoU {scores.miou:.2f} "
        f"(pixels without strokes; classes matched {how})"
    )


def describe_scores(truth: Truth) -> str:
    """Return the score of each class, one per line; empty if there is none."""
    if truth.labels is None or not isinstance(truth.score, MapScore):
        return ""
    scores, names = truth.score.scores, truth.score.names
    classes = (f"IoU of {names.get(value, value)}: {iou:.2f}" for value, iou in scores.iou.items())
    return "\n".join([f"{scores.n_pixels:,} pixels", *classes])
