import xml.etree.ElementTree as ET

import numpy as np

from stftgan_tf.evaluation import charts


def words(svg):
    """All texts of a chart, which must be XML and use the page's colour."""
    assert b"currentColor" in svg and b"#010203" not in svg
    assert b"prefers-color-scheme:dark" in svg
    tree = ET.fromstring(svg)
    return ["".join(node.itertext()) for node in tree.iter() if is_text(node)]


def is_text(node):
    return node.tag.endswith("}text")


def test_bars_show_names_with_special_characters():
    names = ["a", "$x^", "<b>"]
    groups = {"real": [1, 2, 3], "generated": [3, 2, 1]}
    svg = charts.bars(names, groups, "%", [True, False, True])
    texts = words(svg)
    assert {*names, "%", "real", "generated"} <= set(texts)
    assert texts.count("*") == 2
    assert svg == charts.bars(names, groups, "%", [True, False, True])


def test_too_many_bars_have_no_names():
    count = 50
    names = [f"n{i}" for i in range(count)]
    texts = words(charts.bars(names, {"real": np.arange(count)}, "%"))
    assert not set(names) & set(texts) and "real" in texts


def test_curves_have_a_legend_and_a_mark():
    series = {"loss": ([1, 2, 3], [0.5, 0.4, 0.3])}
    assert {"loss", "step"} <= set(words(charts.curves(series)))
    assert "exported step" in words(charts.curves(series, 2))


def test_a_scatter_plot_has_every_point():
    positions = np.random.default_rng(0).normal(size=(40, 2))
    svg = charts.points({"real": positions, "generated": positions[:7]})
    assert {"real", "generated"} <= set(words(svg))
    # Two of them are in the legend.
    assert svg.count(b"<use ") == 40 + 7 + 2


def test_levels_are_decibels():
    moments = {"mean": [0, 0], "std": [1, 1], "min": [-4, -4], "max": [4, 4]}
    texts = words(charts.levels(np.array([0, 1]), moments))
    assert {"Hz", "dB", "mean", "range"} <= set(texts)
    # e^4 is 34.7 dB.
    numbers = [
        float(t.replace("\u2212", "-")) for t in texts if t[-1].isdigit()
    ]
    assert 20 <= max(numbers) <= 40
