import io

import numpy as np
from matplotlib.text import Text
from PIL import Image

from stftgan_tf import pictures


def pixels(png):
    return np.int32(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_grid_has_a_row_for_every_eight_windows():
    windows = np.zeros((9, 16, 32), np.float32)
    image = pixels(pictures.grid(windows, 0.5, 8000, list("abcdefghi")))
    assert image.shape == (380, 1240, 3)


def test_the_axes_of_a_grid_show_seconds_and_kilohertz(monkeypatch):
    texts = []
    monkeypatch.setattr(
        pictures, "_png", lambda figure: texts.extend(figure.findobj(Text))
    )
    pictures.grid(np.zeros((9, 16, 32), np.float32), 0.536, 8000)
    labels = [text.get_text() for text in texts if text.get_visible()]
    # Nine windows: two rows have a left edge, eight columns a lower edge.
    assert labels.count("4 kHz") == 2 and labels.count("0.54 s") == 8


def test_low_frequencies_are_at_the_bottom_and_time_runs_right():
    window = np.full((16, 32), -1.0, np.float32)
    window[12:, :4] = 1.0  # late and low
    grid = pictures.grid(window[None], 0.5, 8000)
    for png in (grid, pictures.spectrogram(window)):
        image = pixels(png)
        yellow = np.argwhere((image[..., 0] > 200) & (image[..., 2] < 100))
        height, width = image.shape[:2]
        assert len(yellow)
        assert yellow[:, 0].min() > height / 2
        assert yellow[:, 1].min() > width / 2


def test_a_spectrogram_has_one_pixel_per_value():
    image = pixels(pictures.spectrogram(np.zeros((16, 32), np.float16)))
    assert image.shape == (32, 16, 3)
