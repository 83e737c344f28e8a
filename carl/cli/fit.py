"""``carl fit``: labelled pixels in, a segmenter out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carl.cli.options import AsJson, Camera, Device, Tune, Variable, Wavelengths
from carl.cli.outputs import check_output
from carl.cli.terminal import progress_line, show_facts, show_json
from carl.errors import CubeError, LabelError

if TYPE_CHECKING:
    from carl.io import LabelClass, LabelMap
    from carl.learning import FineTuneResult


def fit(
    context: typer.Context,
    cubes: Annotated[
        list[Path],
        typer.Option(
            "--pair",
            metavar="CUBE LABELS",
            help="A cube and its label map (PNG, TIFF or .npy; 0 = unlabelled); may be repeated.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NAME.carl", help="Where the segmenter goes.")
    ],
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help='Names of classes 1, 2, …: "lumen,urothelium,stroma".'),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="See 'carl models'; 'none' for no network.")
    ] = "carl-nano",
    tune: Annotated[
        Tune | None,
        typer.Option(
            help="Fine-tune the network on the labels first; kept only if held-out labels say so."
        ),
    ] = None,
    wavelengths: Wavelengths = None,
    camera: Camera = None,
    variable: Variable = None,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Learn to segment from cubes of which some pixels are labelled."""
    from carl.cli.inputs import open_cube_with_wavelengths
    from carl.io import read_labels

    labels = [Path(argument) for argument in context.args]
    if len(cubes) != len(labels):
        raise CubeError(
            f"{len(cubes)} cubes and {len(labels)} label maps were given: write --pair CUBE LABELS "
            "for each cube."
        )
    if model == "none" and tune is not None:
        raise CubeError("There is no network to fine-tune: leave out --tune, or name a --model.")
    check_output(output, ".carl", [*cubes, *labels])
    opened = [open_cube_with_wavelengths(path, wavelengths, camera, variable) for path in cubes]
    maps = [
        read_labels(path, shape=cube.shape[:2]) for path, cube in zip(labels, opened, strict=True)
    ]
    named = _named_classes(maps, classes)

    from carl.learning import Segmenter, finetune
    from carl.model import load_model
    from carl.progress import subprogress

    network = None if model == "none" else load_model(model, device=device)
    pixels = [label_map.labels for label_map in maps]
    tuned: FineTuneResult | None = None
    with progress_line() as progress:
        if network is not None and tune is not None:
            tuned = finetune(
                network, opened, pixels, tune=tune.value, progress=subprogress(progress, 0, 0.8)
            )
            network = tuned.model
            progress = subprogress(progress, 0.8, 1)
        segmenter = Segmenter(network, classes=named).fit(opened, pixels, progress=progress)
    segmenter.save(output)
    counts = {
        each.name: sum(int((array == each.value).sum()) for array in pixels)
        for each in segmenter.classes
    }
    if json:
        show_json(
            {"output": str(output), "classes": counts, "report": segmenter.report}
            | ({} if tuned is None else {"fine_tuning": _facts_of_tuning(tuned)})
        )
        return
    facts = {
        "output": output,
        "classes": ", ".join(f"{name} {count} px" for name, count in counts.items()),
    }
    accuracy = segmenter.report["left_out_accuracy"]
    if math.isfinite(accuracy):
        facts["accuracy"] = f"{accuracy:.1%} of labels that were left out"
    if network is not None:
        state = "trained" if network.trained else "untrained: see 'carl models'"
        share = segmenter.report["carl_share"]
        facts["network"] = f"{network.name} ({state}) decides {share:.0%}"
    if tuned is not None:
        facts["fine-tuning"] = (
            f"{'kept' if tuned.kept else 'not kept'}: held-out score {tuned.score_before:.3f} "
            f"before, {tuned.score_after:.3f} after"
        )
    show_facts(facts)


def _facts_of_tuning(result: FineTuneResult) -> dict[str, Any]:
    return {
        "kept": result.kept,
        "score_before": result.score_before,
        "score_after": result.score_after,
    }


def _named_classes(maps: Sequence[LabelMap], names: str | None) -> tuple[LabelClass, ...]:
    """The classes of all label maps: named by the user, or as in the maps' own sidecars.

    Raises:
        LabelError: too few names, or two maps that call the same value by different names.
    """
    from carl.io import LabelClass, default_classes, default_colour

    if names is not None:
        given = [name.strip() for name in names.split(",")]
        highest = max(int(label_map.labels.max()) for label_map in maps)
        if not all(given) or len(set(given)) < len(given) or highest > len(given):
            raise LabelError(
                f"--classes names {len(given)} classes and the labels go up to {highest}: give a "
                "different name to each class from 1, separated by commas."
            )
        return tuple(
            LabelClass(value, name, default_colour(value)) for value, name in enumerate(given, 1)
        )
    found: dict[int, LabelClass] = {}
    unnamed: dict[int, LabelClass] = {}
    for label_map in maps:
        plain = default_classes(label_map.labels)
        unnamed.update((each.value, each) for each in plain)
        for each in set(label_map.classes) - set(plain):
            known = found.setdefault(each.value, each)
            if known.name != each.name:
                raise LabelError(
                    f"Class {each.value} is called '{known.name}' by one label map and "
                    f"'{each.name}' by another: give the names with --classes."
                )
    merged = unnamed | found
    return tuple(merged[value] for value in sorted(merged))
