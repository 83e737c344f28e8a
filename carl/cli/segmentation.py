"""Commands for segmentation: fit, train, predict, evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carl.cli.files import (
    CubeOptions,
    check_different,
    check_folder,
    check_output,
    open_cube_with_wavelengths,
)
from carl.cli.options import (
    CameraOption,
    DeviceOption,
    FrameOption,
    HeightOption,
    JsonOption,
    RegisterOption,
    TuneOption,
    VariableOption,
    WavelengthsOption,
)
from carl.cli.terminal import print_json, print_rows, progress_line, resumable
from carl.errors import CubeError

if TYPE_CHECKING:
    from carl.learning import FineTuneResult

_OLD_REPORT_KEYS = {
    "left_out_accuracy": "held_out_accuracy",
    "carl_share": "network_weight",
    "experts": "component_weights",
}
"""Keys of earlier versions in the JSON of `carl fit`, kept for scripts that read them."""


def fit(
    context: typer.Context,
    cubes: Annotated[
        list[Path],
        typer.Option(
            "--pair",
            metavar="CUBE LABELS",
            help="Cube and its label map (PNG, TIFF or .npy; 0 = unlabelled); repeatable.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NAME.carl", help="Segmenter to write.")
    ],
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help='Names of classes 1, 2, …: "lumen,urothelium,stroma".'),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Network; see 'carl models'. 'none': without.")
    ] = "carl-nano",
    tune: TuneOption = None,
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    labels_variable: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the label map in a .mat, .npz or HDF5 file."),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Fit a segmenter to cubes with some labelled pixels."""
    from carl.io import merge_classes, read_labels

    label_paths = [Path(argument) for argument in context.args]
    if len(cubes) != len(label_paths):
        raise CubeError(
            f"{len(cubes)} cubes and {len(label_paths)} label maps were given: write --pair CUBE "
            "LABELS for each cube."
        )
    if model == "none" and tune is not None:
        raise CubeError("There is no network to fine-tune: omit --tune, or give a --model.")
    check_output(output, ".carl", [*cubes, *label_paths])
    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    opened = [open_cube_with_wavelengths(path, options) for path in cubes]
    maps = [
        read_labels(path, cube.shape[:2], labels_variable)
        for path, cube in zip(label_paths, opened, strict=True)
    ]
    names = None if classes is None else [name.strip() for name in classes.split(",")]
    label_classes = merge_classes(maps, names)

    from carl.learning import Segmenter, finetune
    from carl.learning.options import check_tune
    from carl.model import load_model
    from carl.progress import subprogress

    network = None if model == "none" else load_model(model, device=device)
    labels = [label_map.labels for label_map in maps]
    tuned: FineTuneResult | None = None
    with progress_line() as progress:
        if network is not None and tune is not None:
            tuned = finetune(
                network,
                opened,
                labels,
                tune=check_tune(tune),
                progress=subprogress(progress, 0, 0.8),
            )
            network = tuned.model
            progress = subprogress(progress, 0.8, 1)
        segmenter = Segmenter(network, classes=label_classes).fit(opened, labels, progress=progress)
    segmenter.save(output)
    counts = {
        each.name: sum(int((array == each.value).sum()) for array in labels)
        for each in segmenter.classes
    }
    if json:
        report = asdict(segmenter.report)
        report |= {old: report[new] for old, new in _OLD_REPORT_KEYS.items()}
        result = {"output": str(output), "classes": counts, "report": report}
        if tuned is not None:
            names_of_scores = ("kept", "score_before", "score_after")
            result["fine_tuning"] = {name: getattr(tuned, name) for name in names_of_scores}
        print_json(result)
        return
    rows: dict[str, Any] = {
        "output": output,
        "classes": ", ".join(f"{name} ({count} pixels)" for name, count in counts.items()),
    }
    rows["accuracy"] = segmenter.report.accuracy_text
    rows["evidence"] = segmenter.report.evidence_text
    if network is not None:
        state = "trained" if network.trained else "untrained: see 'carl models'"
        weight = segmenter.report.network_weight
        rows["network"] = f"{network.name} ({state}), weight {weight:.0%}"
    if tuned is not None:
        rows["fine-tuning"] = (
            f"{'used' if tuned.kept else 'not used'}: mIoU on held-out labels "
            f"{tuned.score_before:.3f} before, {tuned.score_after:.3f} after"
        )
    print_rows(rows)


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="Configuration of the training.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last checkpoint.")
    ] = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Train a segmentation or classification head on a network, from many labels.

    For a few labelled pixels, use `carl fit`. CONFIG.yaml needs `output` (NAME.carl) and either
    `pairs` (a list of `cube` and `labels`) or `geobench` (a folder); everything else has a default.
    `head` is linear, vit-adapter-upernet, vit-adapter-mask2former, swin-mask2former, classification
    or multilabel. `carl predict` uses the result. After an interruption, resume with --resume.
    """
    from carl.learning.head_training.train_config import SUFFIX, TrainConfig

    configuration = TrainConfig.from_file(config)
    pairs = (*configuration.pairs, *configuration.validation)
    inputs = [path for pair in pairs for path in (pair.cube, pair.labels)]
    check_output(configuration.output, SUFFIX, inputs)

    from carl.learning.head_training import train_to_file

    how = "resume from the last checkpoint with --resume."
    with progress_line() as progress, resumable(configuration.checkpoint, how):
        result = train_to_file(configuration, device=device, resume=resume, progress=progress)
    classes = [each.name for each in result.trained.classes]
    rows: dict[str, Any] = {"output": str(configuration.output), "head": configuration.head.name}
    if json:
        rows |= {
            "classes": classes,
            "steps": len(result.history),
            "loss": result.history[-1].loss,
            "scores": result.scores,
        }
        print_json(rows)
        return
    rows["classes"] = ", ".join(classes)
    rows |= {f"held-out {name}": f"{value:.3f}" for name, value in result.scores.items()}
    print_rows(rows)


def predict(
    cubes: Annotated[
        list[Path], typer.Argument(metavar="CUBE", help="Cubes in any readable format.")
    ],
    model: Annotated[
        Path,
        typer.Option("--model", metavar="NAME.carl", help="Result of 'carl fit' or 'carl train'."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")
    ],
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write the probability of each class (float32)."),
    ] = False,
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Segment cubes with a fitted segmenter or a trained head.

    For each cube CUBE, DIR gets CUBE_labels.tif, the class names as CUBE_labels.json and, with
    --probabilities, CUBE_probabilities.tif with one page per class. A model that classifies whole
    images writes CUBE_probabilities.json instead. The results of x.tif and x.hdr start with x_tif
    and x_hdr. Nothing is written if any of the cubes fails; existing results are replaced.
    """
    from carl.files import atomic_folder
    from carl.io import find_existing, plan_outputs
    from carl.learning import prediction_names

    check_folder(output)
    check_different(cubes)
    outputs = plan_outputs(cubes, prediction_names)
    find_existing(output, outputs, cubes)  # existing results are replaced, the cubes never
    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    opened = [open_cube_with_wavelengths(path, options) for path in cubes]

    from carl.learning import load_predictor, predict_to_files
    from carl.progress import subprogress

    predictor = load_predictor(model, device)
    results: dict[str, dict[str, float]] = {}
    with atomic_folder(output) as folder, progress_line() as progress:
        for i, (names, cube) in enumerate(zip(outputs, opened, strict=True)):
            name, of_class = predict_to_files(
                predictor,
                cube,
                folder,
                names.stem,
                probabilities=probabilities,
                progress=subprogress(progress, i / len(cubes), (i + 1) / len(cubes)),
            )
            results[str(output / name)] = of_class
    if json:
        print_json(results)
        return
    print_rows(
        {
            path: ", ".join(f"{name} {value:.1%}" for name, value in of_class.items())
            for path, of_class in results.items()
        }
    )


def evaluate(
    predicted: Annotated[Path, typer.Argument(metavar="PREDICTED", help="Predicted label map.")],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="True label map; pixels with 0 are left out.")
    ],
    json: JsonOption = False,
) -> None:
    """Compare a label map with the truth: accuracy, IoU of each class and their mean."""
    from carl import metrics
    from carl.io import read_labels

    true_map = read_labels(truth)
    predicted_map = read_labels(predicted, shape=true_map.labels.shape)
    scores = metrics.evaluate(predicted_map.labels, true_map.labels)
    if json:
        print_json(
            {
                "accuracy": scores.accuracy,
                "miou": scores.miou,
                "iou": scores.iou,
                "values": scores.values,
                "confusion": scores.confusion,
                "pixels": scores.n_pixels,
            }
        )
        return
    names = {each.value: each.name for each in (*predicted_map.classes, *true_map.classes)}
    print_rows(scores.rows(names))
