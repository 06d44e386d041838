import io

import numpy as np
from PIL import Image

from stftgan_tf import pictures


def pixels(png):
    return np.int32(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_grid_has_a_row_for_every_eight_windows():
    windows = np.zeros((9, 16, 32), np.float32)
    image = pixels(pictures.grid(windows, list("abcdefghi")))
    assert image.shape == (340, 1200, 3)


def test_low_frequencies_are_at_the_bottom_and_time_runs_right():
    window = np.full((16, 32), -1.0, np.float32)
    window[12:, :4] = 1.0  # late and low
    for png in (pictures.grid(window[None]), pictures.spectrogram(window)):
        image = pixels(png)
        yellow = np.argwhere((image[..., 0] > 200) & (image[..., 2] < 100))
        height, width = image.shape[:2]
        assert len(yellow)
        assert yellow[:, 0].min() > height / 2
        assert yellow[:, 1].min() > width / 2


def test_a_spectrogram_has_one_pixel_per_value():
    image = pixels(pictures.spectrogram(np.zeros((16, 32), np.float16)))
    assert image.shape == (32, 16, 3)
