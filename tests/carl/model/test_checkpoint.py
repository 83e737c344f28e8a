from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from carl.errors import ModelError, OutputError
from carl.model import CARL, CARLConfig, read_checkpoint, read_model, save_model
from carl.model.checkpoint import (
    original_name,
    read_tensors,
    read_training_state,
    unreadable_as,
    write_tensors,
    write_training_state,
)

Make = Callable[..., CARL]


@pytest.fixture
def lightning(small_model: Make, tmp_path: Path) -> Callable[..., Path]:
    """Factory of checkpoints in the original's format; the argument modifies the state dict."""

    def write(change: Callable[[dict[str, Any]], object] = lambda state: None) -> Path:
        state: dict[str, Any] = {}
        for prefix, sign in (("model.", 1), ("teacher.", -1)):
            for name, tensor in small_model().state_dict().items():
                state[prefix + original_name(name)] = sign * tensor
            state[prefix + "spatial_encoder.net.head.weight"] = torch.zeros(3, 2)
            state[prefix + "spatial_encoder.net.patch_embed.proj.bias"] = torch.zeros(2)
        state["model.spectral_predictor.mask_token"] = torch.zeros(1, 1, 8)
        state["classifier.weight"] = torch.zeros(4)
        change(state)
        path = tmp_path / "run.ckpt"
        torch.save({"state_dict": state, "epoch": 3, "optimizer_states": []}, path)
        return path

    return write


def equal(first: CARL, second: CARL, sign: int = 1) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(t, sign * theirs[name]) for name, t in first.state_dict().items())


def test_student_and_teacher_are_read(lightning: Callable[..., Path], small_model: Make) -> None:
    path, model = lightning(), small_model()
    student = read_checkpoint(path, model.config)
    teacher = read_checkpoint(path, model.config, "teacher")
    assert equal(student, model)
    assert equal(teacher, model, sign=-1)
    assert (student.name, student.trained, student.training) == ("run", True, False)


def test_teacher_of_the_reference_checkpoint_differs_from_its_student(carl_reference: Path) -> None:
    folder = carl_reference / "vit_small_case"
    path, config = folder / "checkpoint.ckpt", folder / "config.json"
    assert not equal(read_checkpoint(path, config), read_checkpoint(path, config, "teacher"))


def test_checkpoint_without_prefix_is_read_as_student(small_model: Make, tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "alone.pt"
    torch.save({original_name(n): t for n, t in model.state_dict().items()}, path)
    assert equal(read_checkpoint(path, model.config.to_dict()), model)


def test_error_lists_missing_unexpected_and_misshapen_weights(
    lightning: Callable[..., Path], small_config: Callable[..., CARLConfig]
) -> None:
    def change(state: dict[str, Any]) -> None:
        del state["model.linear_connector.bias"]
        state["model.spectral_tf.blocks.9.norm1.weight"] = torch.zeros(16)
        state["model.embedder.bias"] = torch.zeros(17)

    with pytest.raises(ModelError) as caught:
        read_checkpoint(lightning(change), small_config())
    message = str(caught.value)
    assert "run.ckpt" in message
    assert "1 missing: linear_connector.bias" in message
    assert "1 unexpected: spectral_tf.blocks.9.norm1.weight" in message
    assert "embedder.bias (17,) instead of (16,)" in message


def test_error_abbreviates_long_lists(
    lightning: Callable[..., Path], small_config: Callable[..., CARLConfig]
) -> None:
    with pytest.raises(ModelError, match=r"and \d+ more") as caught:
        read_checkpoint(lightning(), small_config(depth=6))
    assert "spectral_tf.blocks.4.norm1.weight" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_teacher_raises(
    lightning: Callable[..., Path], small_config: Callable[..., CARLConfig]
) -> None:
    def change(state: dict[str, Any]) -> None:
        for name in [name for name in state if name.startswith("teacher.")]:
            del state[name]

    with pytest.raises(ModelError, match="holds no teacher"):
        read_checkpoint(lightning(change), small_config(), "teacher")


class Payload:
    """Object that runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_in_a_checkpoint_is_not_run(
    lightning: Callable[..., Path],
    small_config: Callable[..., CARLConfig],
    tmp_path: Path,
    zipped: bool,
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.ckpt"
    state = torch.load(lightning(), weights_only=True)
    state["hyper_parameters"] = Payload(f"touch {marker}")
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="could run code"):
        read_checkpoint(path, small_config())
    assert not marker.exists()
    torch.load(path, weights_only=False)  # check that the payload works
    assert marker.exists()


@given(fraction=st.floats(0, 0.999), flipped=st.integers(0, 10**9))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_truncated_or_corrupted_checkpoints_raise(
    lightning: Callable[..., Path],
    small_config: Callable[..., CARLConfig],
    tmp_path: Path,
    fraction: float,
    flipped: int,
) -> None:
    content = lightning().read_bytes()
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ModelError, match=r"broken\.ckpt"):
        read_checkpoint(broken, small_config())
    damaged = bytearray(content)
    damaged[flipped % len(damaged)] ^= 0xFF
    broken.write_bytes(damaged)
    with suppress(ModelError):  # a byte within a weight goes unnoticed
        read_checkpoint(broken, small_config())


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": "b"}}, {"state_dict": 3}])
def test_checkpoint_without_state_dict_raises(
    small_config: Callable[..., CARLConfig], tmp_path: Path, content: object
) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"other\.ckpt"):
        read_checkpoint(path, small_config())


@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_saved_model_has_the_features_of_the_original_checkpoint(
    carl_reference: Path, tmp_path: Path, case: str
) -> None:
    folder = carl_reference / case
    model = read_checkpoint(folder / "checkpoint.ckpt", folder / "config.json")
    save_model(model, tmp_path / "ours.safetensors")
    again = read_model(tmp_path / "ours.safetensors")
    image, wavelengths = torch.randn(1, 5, 24, 16), torch.linspace(0.4, 0.9, 5)
    with torch.no_grad():
        assert torch.equal(again(image, wavelengths).spatial, model(image, wavelengths).spatial)
    assert again.fingerprint == model.fingerprint


def test_metadata_survives_saving_and_reading(small_config: Any, tmp_path: Path) -> None:
    model = CARL(
        small_config(patch_size=8),
        name="mine",
        trained=True,
        normalisation=(0.25, 0.5),
        wavelength_range_um=(0.38, 2.5),
    )
    save_model(model, tmp_path / "m.safetensors")
    again = read_model(tmp_path / "m.safetensors")
    for name in ("config", "name", "trained", "normalisation", "wavelength_range_um"):
        assert getattr(again, name) == getattr(model, name)
    header, _ = read_tensors(tmp_path / "m.safetensors", "carl")
    assert header["trained"] is True


def test_half_precision_applies_to_parameters_only(small_model: Make, tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path / "full.safetensors")
    save_model(model, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("half", "full")]
    assert sizes[0] < 0.7 * sizes[1]
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["connector.weight"].dtype == torch.half
    again = read_model(tmp_path / "half.safetensors")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    frequencies = again.spectral_encoder.wavelength_encoding.frequencies
    assert torch.equal(frequencies, model.spectral_encoder.wavelength_encoding.frequencies)


@given(fraction=st.floats(0, 0.999))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_truncated_model_file_raises(small_model: Make, tmp_path: Path, fraction: float) -> None:
    path = tmp_path / "m.safetensors"
    save_model(small_model(), path)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"m\.safetensors"):
        read_model(path)


@pytest.mark.parametrize(
    "header",
    [None, {}, {"carl": "["}, {"carl": "3"}, {"carl": "{}"}, {"carl": json.dumps({"config": 3})}],
)
def test_other_safetensors_files_raise(tmp_path: Path, header: dict[str, str] | None) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=header)
    with pytest.raises(ModelError, match=r"other\.safetensors"):
        read_model(path)


def test_error_lists_weights_missing_in_a_model_file(small_model: Make, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(small_model(), path)
    header = {"carl": json.dumps(read_tensors(path, "carl")[0])}
    weights = load_file(path)
    del weights["connector.bias"]
    save_file(weights, path, metadata=header)
    with pytest.raises(ModelError, match=r"1 missing: connector\.bias"):
        read_model(path)


def test_failed_save_leaves_no_files(small_model: Make, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OutputError, match="taken"):
        save_model(small_model(), target)
    assert list(tmp_path.iterdir()) == [target]


def test_training_state_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    for step in (1, 2):
        write_training_state(path, {"step": step, "weights": [torch.full((2,), float(step))]})
    state = read_training_state(path)
    assert state["step"] == 2
    assert torch.equal(state["weights"][0], torch.full((2,), 2.0))
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_training_state_raises(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    write_training_state(path, {"step": 1})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be read as a training checkpoint"):
        read_training_state(path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="is not a training checkpoint"):
        read_training_state(path)


def flipped(content: bytes, ends: Sequence[int], n: int) -> Iterator[bytes]:
    """Yield copies with one flipped bit: `n` in front of each end."""
    random = np.random.default_rng(0)
    for end in ends:
        for position, bit in zip(random.integers(0, end, n), random.integers(0, 8, n), strict=True):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(bit)
            yield bytes(damaged)


def test_a_flipped_bit_of_a_model_file_changes_nothing_or_raises(
    small_model: Make, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    model = small_model()
    save_model(model, path)
    content = path.read_bytes()
    for damaged in flipped(content, (4000, len(content)), 40):
        path.write_bytes(damaged)
        with suppress(ModelError):
            again = read_model(path)
            assert (again.name, again.fingerprint) == (model.name, model.fingerprint)


def test_a_damaged_weight_raises(small_model: Make, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(small_model(), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.safetensors cannot be read as a CARL model"):
        read_model(path)


def test_a_model_file_without_checksum_is_read(small_model: Make, tmp_path: Path) -> None:
    path, model = tmp_path / "m.safetensors", small_model()
    save_model(model, path)
    header = {"carl": json.dumps(read_tensors(path, "carl")[0])}
    save_file(load_file(path), path, metadata=header)
    assert equal(read_model(path), model)


def test_a_file_of_a_newer_version_raises(tmp_path: Path) -> None:
    path = tmp_path / "m.carl"
    write_tensors(path, "carl", {"version": 2}, {"weight": torch.zeros(3)})
    assert read_tensors(path, "carl", 2)[0] == {"version": 2}
    with pytest.raises(ModelError, match=r"m\.carl was made by a newer version of CARL: update"):
        read_tensors(path, "carl", 1)
    write_tensors(path, "carl", {"version": "b"}, {})
    with pytest.raises(ValueError, match="no version"):
        read_tensors(path, "carl")


def test_a_flipped_bit_of_a_training_state_changes_nothing_or_raises(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    state = {"step": 1, "weights": torch.arange(30.0), "rates": [0.1, 0.2], "name": "first"}
    write_training_state(path, state)
    content = path.read_bytes()
    for damaged in flipped(content, (len(content),), 200):
        path.write_bytes(damaged)
        with suppress(ModelError):
            assert str(read_training_state(path)) == str(state)


def test_a_training_state_of_a_newer_version_raises(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    torch.save({"step": 1, "carl_format": 2}, path)
    with pytest.raises(ModelError, match=r"run\.ckpt was made by a newer version of CARL"):
        read_training_state(path)
    torch.save({"step": 1}, path)  # of an earlier version of the program
    assert read_training_state(path) == {"step": 1}


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON header of a model file."""
    header = read_tensors(path, "carl")[0]
    change(header)
    save_file(load_file(path), path, metadata={"carl": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["config"]["spec_encoder_kwargs"].update(embed_dim=65536, depth=256),
        lambda header: header["config"]["spec_encoder_kwargs"].update(depth=10**6),
        lambda header: header["config"]["spat_encoder_kwargs"].update(
            model_name="vit_gigantic_patch14_224", model_kwargs={}, depth=None
        ),
    ],
)
def test_a_header_of_a_huge_network_is_refused_in_a_moment(
    small_model: Make, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(small_model(), path)
    rewrite_header(path, change)
    start = time.process_time()
    with pytest.raises(ModelError, match=r"at most 256|does not match the configuration"):
        read_model(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"config": {"patch_size": 1e999}}',
        '{"config": {"patch_size": %s}}' % ("9" * 5000),
        '{"config": {"spec_encoder_kwargs": {"readout": ["sum"]}}}',
        '{"config": {"spat_encoder_kwargs": {"model_kwargs": {"embed_dim": 0}}}}',
        '{"config": {"spat_encoder_kwargs": {"model_kwargs": {"num_heads": 0}}}}',
        '{"config": {"spat_encoder_kwargs": {"model_kwargs": {"norm_layer": 3}}}}',
        '{"config": {"spat_encoder_kwargs": {"model_kwargs": {"img_size": -1}}}}',
        '{"config": {}, "name": "x", "trained": 1, "normalisation": [1, "x"]}',
        '{"x": "%s"}' % ("x" * (1 << 23)),
    ],
)
def test_invalid_values_of_a_header_raise_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.safetensors"
    entries = {"name": "x", "trained": 1, "normalisation": None, "wavelength_range_um": None}
    with suppress(ValueError, RecursionError):
        text = json.dumps(entries | json.loads(text))
    save_file({"weight": torch.zeros(3)}, path, metadata={"carl": text})
    with pytest.raises(ModelError, match=r"m\.safetensors") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    small_model: Make, tmp_path: Path, value: float
) -> None:
    model = small_model()
    with torch.no_grad():
        model.connector.bias[0] = value
    save_model(model, tmp_path / "damaged.safetensors")
    with pytest.raises(ModelError, match=r"damaged\.safetensors is damaged, as 1 of .*connector"):
        read_model(tmp_path / "damaged.safetensors")


def test_errors_of_a_configuration_name_the_file(
    lightning: Callable[..., Path], small_model: Make, tmp_path: Path
) -> None:
    config = small_model().config.to_dict()
    config["spat_encoder_kwargs"]["model_name"] = "vit_of_no_size"
    with pytest.raises(ModelError, match=r"run\.ckpt: timm has no model 'vit_of_no_size'"):
        read_checkpoint(lightning(), config)
    metadata = {"config": {"depth": 1}, "wavelength_range_um": None, "normalisation": None}
    write_tensors(tmp_path / "a.safetensors", "carl", metadata, {})
    with pytest.raises(ModelError, match=r"a\.safetensors .* There is no key 'depth'"):
        read_model(tmp_path / "a.safetensors")


def test_an_error_without_the_name_of_the_file_is_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "head.carl"
    with (
        pytest.raises(ModelError, match=r"head\.carl: hidden_size must be 1 or more"),
        unreadable_as("a trained head", path),
    ):
        raise ModelError("hidden_size must be 1 or more.")
    with (
        pytest.raises(ModelError, match=r"^head\.carl has no classes\.$"),
        unreadable_as("a trained head", path),
    ):
        raise ModelError("head.carl has no classes.")
