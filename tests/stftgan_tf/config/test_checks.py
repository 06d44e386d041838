import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.config import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stft.frame_step=64"], "cannot be reconstructed; use at most 32"),
        (["stft.frame_step=65"], "stft.frame_step is 65; expected 1 to 64"),
        (["stft.frame_length=63"], "stft.frame_length is 63; expected even"),
        (["window.frames=18"], "window.frames is 18; expected a multiple of 4"),
        (
            ["model.networks=dcgan", "model.num_downsamples=4"]
            + ["stft.frame_length=80", "stft.frame_step=40"],
            "stft.frame_length / 2 is 40; expected a multiple of 16",
        ),
        (["model.generator.kernel=4"], "model.generator.kernel is 4; expected"),
        (
            ["model.minibatch_stddev=3"],
            "batch_size is 8; expected a multiple of model.minibatch_stddev, 3",
        ),
        (
            ["train.steps_per_execution=3"],
            "log_every is 5; expected a multiple of train.steps_per_execution",
        ),
        (
            ["train.strategy=mirrored", "train.steps_per_execution=5"],
            "expected train.steps_per_execution 1",
        ),
        (
            ["train.strategy=multiworker", "train.jit_compile=true"],
            "expected train.jit_compile auto or false",
        ),
        (["audio.name_regex='('"], "name_regex is not a regular expression"),
        (["audio.name_regex='(?P<word>.)'"], "expected only label and speaker"),
        (
            ["audio.labels=folder", "audio.speakers=folder"],
            "both folder; a folder gives one of them",
        ),
        (
            ["audio.speakers=regex", "audio.name_regex=(?P<label>a)"],
            r"audio.speakers is regex, but .* has no group \(\?P<speaker>",
        ),
        (
            ["split.by=regex"],
            "split.by is regex, but split.eval_regex is",
        ),
    ],
)
def test_values_that_cannot_work_together_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load("tiny", overrides)
