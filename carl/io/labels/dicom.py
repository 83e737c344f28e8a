"""DICOM segmentations and parametric maps, with the picture in true colour that they refer to.

A segmentation object has a binary frame for each class, its name as label and its colour as
recommended CIELab value. Labels have at most 64 characters, and numbers of segments have no gaps:
the value and the whole name of the class are in the description of the segment.

Sources: DICOM PS3.3, A.51 (segmentation), A.75 (parametric map), A.8.5.4 (secondary capture in
colour); the documentation of highdicom.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.io.georeference import pixel_size_in
from carl.io.labels.label_format import (
    LabelFormat,
    Shape,
    StoredLabels,
    check_size,
    check_value,
)
from carl.io.labels.label_map import LabelClass, LabelMap, default_colour
from carl.io.size_limits import check_decoded_size
from carl.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of segmentations; that of segmentations stored as label maps starts alike."""
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_SNIFFED_BYTES = 2048
_PREAMBLE_BYTES = 128
_MAX_LABEL = 64
"""Characters of the longest label of a segment."""
_MAKER: dict[str, Any] = {
    "manufacturer": "napari-carl",
    "manufacturer_model_name": "carl",
    "software_versions": __version__,
    "device_serial_number": "0",
}


def sniff(path: Path) -> bool:
    """Return whether a file is a DICOM segmentation, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    is_dicom = start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM"
    return is_dicom and (_SEGMENTATION.encode() in start or _LABEL_MAP.encode() in start)


def read(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read a segmentation of one image.

    Raises:
        LabelError: it is compressed, fractional, or has several slices.
    """
    from pydicom import dcmread

    check_decoded_size(path, path.stat().st_size, path.stat().st_size, error_type=LabelError)
    # From memory: of a file, the library reserves the stated length of an element before it reads.
    dataset = dcmread(BytesIO(path.read_bytes()))
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        raise LabelError(f"{path.name} is compressed: save it uncompressed.")
    size = (int(dataset.Rows), int(dataset.Columns))
    check_size(path, size, shape)
    classes = {int(each.SegmentNumber): _class_of(each, path) for each in dataset.SegmentSequence}
    n_frames = int(dataset.NumberOfFrames)
    frames = _frames(dataset, n_frames, size, path)
    labels = np.zeros(size, np.uint16)
    if dataset.SegmentationType == "LABELMAP":
        for number, known in classes.items():
            labels[frames[0] == number] = known.value
        return StoredLabels(labels, tuple(classes.values()))
    numbers = [
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    if len(set(numbers)) < len(numbers):
        raise LabelError(f"{path.name} has several slices: a label map is of one image.")
    for number, frame in zip(numbers, frames, strict=True):
        labels[frame != 0] = classes[number].value
    return StoredLabels(labels, tuple(classes.values()))


def write(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a segmentation, and beside it the picture that it refers to, see `picture_name`.

    Raises:
        LabelError: there is no class.
    """
    from highdicom.color import CIELabColor
    from highdicom.seg import Segmentation as SegmentationObject
    from highdicom.seg import SegmentationTypeValues, SegmentDescription
    from highdicom.uid import UID
    from pydicom.sr.codedict import codes

    if not label_map.classes:
        raise LabelError(f"{path.name} would have no segment: label some pixels first.")
    numbers = np.zeros(1 + max(each.value for each in label_map.classes), np.uint16)
    descriptions = []
    for number, each in enumerate(label_map.classes, 1):
        numbers[each.value] = number
        description = SegmentDescription(
            segment_number=number,
            segment_label=_label(each),
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
            display_color=CIELabColor.from_rgb(*each.colour),
        )
        description.SegmentDescription = f"class {each.value}: {each.name}"
        descriptions.append(description)
    picture = _picture(label_map, cube)
    picture.save_as(path.with_name(picture_name(path.name)))
    SegmentationObject(
        source_images=[picture],
        pixel_array=numbers[label_map.labels],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=UID(),
        series_number=2,
        sop_instance_uid=UID(),
        instance_number=1,
        **_MAKER,
    ).save_as(path)


def write_probabilities(
    path: Path,
    probabilities: Float32Array,
    classes: Sequence[LabelClass],
    picture: Dataset,
) -> None:
    """Write the probability of each class as a parametric map with a float32 frame for each.

    Args:
        path: of the file.
        probabilities: (H, W, K).
        classes: of the K maps.
        picture: the image they belong to, as `write` writes it.
    """
    from highdicom.content import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from highdicom.uid import UID
    from pydicom.sr.codedict import codes

    mappings = [
        [
            RealWorldValueMapping(
                lut_label=_label(each)[:16],
                lut_explanation=f"Probability of {_label(each)}"[:_MAX_LABEL],
                unit=codes.UCUM.NoUnits,
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
            )
        ]
        for each in classes
    ]
    ParametricMap(
        source_images=[picture],
        pixel_array=np.ascontiguousarray(probabilities, np.float32)[None],
        series_instance_uid=UID(),
        series_number=3,
        sop_instance_uid=UID(),
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=mappings,
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        **_MAKER,
    ).save_as(path)


def picture_name(name: str) -> str:
    """Return the name of the picture that belongs to a segmentation.

    Examples:
        >>> picture_name("scan_seg.dcm")
        'scan_colour.dcm'
    """
    return f"{Path(name).stem.removesuffix('_seg')}_colour.dcm"


def _picture(label_map: LabelMap, cube: SpectralCube | None) -> Dataset:
    """Return the cube in true colour, or the colours of the classes, as a secondary capture."""
    from highdicom.sc import SCImage
    from highdicom.uid import UID

    from carl.spectra.colour import true_colour

    if cube is None:
        colours = np.zeros((int(label_map.labels.max()) + 1, 3), np.uint8)
        for each in label_map.classes:
            if each.value < len(colours):
                colours[each.value] = each.colour
        pixels = colours[label_map.labels]
    else:
        pixels = true_colour(cube)
    image = SCImage(
        pixel_array=np.ascontiguousarray(pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=UID(),
        series_instance_uid=UID(),
        series_number=1,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=_MAKER["manufacturer"],
        patient_orientation=("L", "P"),
    )
    image.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; the segmentation takes it over
    # Viewers overlay a segmentation by its position: that of the picture, in the plane z = 0.
    image.FrameOfReferenceUID = UID()
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = [0.0, 0.0, 0.0]
    image.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    row_step, column_step = pixel_size_in(cube, "mm") or (1.0, 1.0)
    image.PixelSpacing = [str(row_step), str(column_step)]
    image.SliceThickness = 1.0
    image.SeriesDescription = "True colour" if cube is not None else "Colours of the classes"
    return image


def _label(known: LabelClass) -> str:
    """Return the name of a class without characters that a label must not have."""
    printable = "".join(" " if ord(each) < 32 or each == "\\" else each for each in known.name)
    return printable.strip()[:_MAX_LABEL] or f"class {known.value}"


def _class_of(segment: Dataset, path: Path) -> LabelClass:
    """Return the class of a segment."""
    from highdicom.color import CIELabColor

    value, name = int(segment.SegmentNumber), str(segment.get("SegmentLabel", ""))
    stated = re.fullmatch(
        r"class (\d{1,5}): (.*)", str(segment.get("SegmentDescription", "")), re.S
    )
    if stated:
        value, name = int(stated[1]), stated[2]
    check_value(path, value)
    stored = segment.get("RecommendedDisplayCIELabValue")
    colour = default_colour(value)
    if stored is not None:
        red, green, blue = CIELabColor.from_dicom_value(tuple(stored)).to_rgb()
        colour = (int(red), int(green), int(blue))
    return LabelClass(value, name or f"class {value}", colour)


def _frames(dataset: Dataset, n_frames: int, size: Shape, path: Path) -> NDArray[Any]:
    """Return the (frames, H, W) pixels, after a check that the file holds so many."""
    stored = bytes(dataset.PixelData)
    bits = int(dataset.BitsAllocated)
    n_pixels = n_frames * size[0] * size[1]
    if n_frames < 1 or bits not in (1, 8, 16) or len(stored) * 8 < n_pixels * bits:
        raise LabelError(f"{path.name} has fewer pixels than it states: it is cut off or damaged.")
    kind = str(dataset.SegmentationType)
    if kind not in ("BINARY", "LABELMAP") or (kind == "LABELMAP" and n_frames > 1):
        raise LabelError(
            f"{path.name} is a segmentation of the type {kind[:20]} with {n_frames} frames: a "
            "label map is binary, or of one image."
        )
    if bits == 1:
        pixels = np.unpackbits(np.frombuffer(stored, np.uint8), count=n_pixels, bitorder="little")
    else:
        pixels = np.frombuffer(stored, f"<u{bits // 8}", count=n_pixels)
    return pixels.reshape(n_frames, *size)


DICOM = LabelFormat(
    "DICOM segmentation",
    (".dcm",),
    (".dcm",),
    read,
    write,
    sniff=sniff,
    extra=("dicom", "highdicom"),
)
