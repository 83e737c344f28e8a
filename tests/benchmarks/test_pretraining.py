import numpy as np
import pytest

pytest.importorskip("lightning")

from no_encoding import SIGMAS, load_or_train, recipe
from pretraining_speed import OBJECTIVES, data_sets, time_batches


def test_recipes_differ_only_in_the_wavelength_encoding(tmp_path):
    with_, without = (recipe("sample", sigma, 4, tmp_path) for sigma in SIGMAS.values())

    different = {
        key
        for key, value in with_.resume_settings().items()
        if without.resume_settings()[key] != value
    }

    assert different == {"model", "name"}
    assert with_.network.spec_encoder_kwargs.pos_enc_sigma > 0
    assert without.network.spec_encoder_kwargs.pos_enc_sigma == 0


def test_trained_network_is_reused(tmp_path):
    config = recipe("sample", 0.0, 1, tmp_path)

    first = load_or_train(config)
    written = next(config.output.glob("*.safetensors")).stat().st_mtime_ns

    assert load_or_train(config).fingerprint == first.fingerprint
    assert next(config.output.glob("*.safetensors")).stat().st_mtime_ns == written


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_batch_after_the_warm_up_is_timed(objective, tmp_path):
    values = {"objective": objective, "crop": 32, "batch_size": 2, "precision": "float32"}
    values["data"] = [data_sets(3)["simulated scenes"]]

    seconds = time_batches(values, workers=0, batches=2, folder=str(tmp_path))

    assert [each.size for each in seconds.values()] == [2, 2, 2]
    np.testing.assert_allclose(seconds["both"], seconds["data"] + seconds["step"])
    assert min(each.min() for each in seconds.values()) > 0
