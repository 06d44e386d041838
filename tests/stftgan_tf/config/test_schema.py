import dataclasses

import pytest
import yaml

from stftgan_tf import config as config_lib


@pytest.mark.parametrize("name", sorted(config_lib.shipped_configs()))
def test_shipped_config_loads_and_survives_yaml(name):
    config = config_lib.load(name)
    assert config_lib.from_dict(yaml.safe_load(config.to_yaml())) == config
    assert config_lib.shipped_configs()[name].read_text().startswith("#")


def test_shapes_of_shipped_configs():
    shapes = {
        name: (config.audio.sample_rate_hz, *config.window_shape)
        for name in config_lib.shipped_configs()
        for config in [config_lib.load(name)]
    }
    assert shapes["digits8k"] == (8000, 64, 128)
    assert shapes["speech16k"] == (16000, 64, 256)
    assert shapes["specgan16k"] == (16000, 128, 128)


def test_derived_numbers(tiny):
    # 16 frames of 64 samples, 32 apart.
    assert tiny.window_samples == 15 * 32 + 64
    assert tiny.stride_samples == 16 * 32
    # -3 dB of level and -70 dB of floor as a natural logarithm.
    assert tiny.log_floor == pytest.approx(-8.4044, abs=1e-4)


def test_data_hash_ignores_what_shards_do_not_depend_on(tiny):
    def hash_with(section, **values):
        part = dataclasses.replace(getattr(tiny, section), **values)
        return dataclasses.replace(tiny, **{section: part}).data_hash()

    assert hash_with("train", steps=3) == tiny.data_hash()
    assert hash_with("window", stride_frames=8) != tiny.data_hash()
