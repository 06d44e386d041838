"""Tests of the command, and of the page in a browser."""

import contextlib
import dataclasses
import json
import re
import shutil

import pytest

from stftgan_tf import report
from stftgan_tf.evaluation import blessing
from stftgan_tf.evaluation import report as report_lib
from tests.browser import CHROMIUM, FLAGS, needs_browser


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Records of an evaluation and of a training with a hostile name."""
    directory = tmp_path_factory.mktemp("records")
    common = {"id": "x", "code": "c0de", "started": "2026-01-01", "secs": 1.5}
    training = {"step": "train", "output": "<script>throw 1</script>"}
    command = ["do", f"--model=/home/{40 * 'unbreakable'}/digits"]
    evaluation = {"step": "evaluate", "output": "evaluations/1"}
    for name, step, inputs in (
        ("train.json", training, {}),
        ("evaluate.json", evaluation, {"train.json": "5ha"}),
    ):
        text = {**common, **step, "command": command, "inputs": inputs}
        (directory / name).write_text(json.dumps(text))
    return directory / "evaluate.json"


@pytest.fixture(scope="module")
def page(
    export, cached_shards, trained_run, evaluation, record, tmp_path_factory
):
    path = tmp_path_factory.mktemp("report") / "report.html"
    flags = [
        f"--model={export}",
        f"--data={cached_shards}",
        f"--run={trained_run}",
    ]
    flags += [f"--evaluation={evaluation}", f"--record={record}"]
    assert report.main([*flags, f"--output={path}"]) == 0
    return path


def test_the_page_contains_everything_and_loads_nothing(page):
    text = page.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert "NOT_BLESSED" in text
    assert "&lt;script&gt;throw 1" in text and "<script>throw" not in text


def test_each_metric_has_its_real_value_its_limit_and_a_meaning(
    page, evaluation
):
    result = blessing.read(evaluation)
    rows = re.findall(
        r"<tr><th scope=\"row\"><span.*?</tr>", page.read_text(), re.S
    )
    names = [
        re.sub(r"<wbr>|<[^>]*>", "", row.partition("<div")[0]) for row in rows
    ]
    rows = dict(zip(names, rows, strict=True))
    assert set(names) == set(result["real"]) - {"labels"}
    assert all(re.search('meaning">[A-Z].*\\.<', row) for row in rows.values())
    row = rows["frechet"]
    for section in ("real", "generated", "last_blessed"):
        assert f">{result[section]['frechet']:.4g}<" in row
    assert 'title="Heusel et al. 2017' in row
    limits = [c["limit"] for c in result["checks"] if c["figure"] == "frechet"]
    assert len(limits) == 2
    assert all(f"at most {limit:.4g}" in row for limit in limits)
    failed = {c["figure"] for c in result["checks"] if not c["passed"]}
    assert failed == {name for name in names if ">failed<" in rows[name]}
    assert failed


def test_captions_show_the_seeds_that_were_measured(
    export, cached_shards, evaluation
):
    sources = report_lib.read_sources(export, cached_shards, evaluation)
    assert "seed 0" in report_lib.html(sources)
    settings = {**sources.evaluation["evaluate"], "seed": 300}
    result = {**sources.evaluation, "evaluate": settings}
    html = report_lib.html(dataclasses.replace(sources, evaluation=result))
    assert "seed 300" in html and "seed 0" not in html
    assert "Curves" not in html and 'id="training"' not in html


@contextlib.contextmanager
def opened(browser, page, width=1280, scheme="light"):
    size = {"width": width, "height": 800}
    context = browser.new_context(
        viewport=size, color_scheme=scheme, offline=True
    )
    tab = context.new_page()
    messages = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_load_state("load")
    yield tab
    assert messages == []
    context.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS
        )
        yield browser
        browser.close()


@needs_browser
def test_a_browser_shows_images_plays_audio_and_previews(
    browser, page, trained_run
):
    with opened(browser, page) as tab:
        assert tab.title().startswith("Not blessed: ")
        tab.wait_for_function(
            "() => [...document.images]"
            ".every(i => i.complete && i.naturalWidth > 0)"
        )
        # 16 real and 16 generated windows, and 8 pairs.
        assert tab.locator("#windows figure img").count() == 32
        assert tab.locator("#neighbours audio").count() == 16
        tab.wait_for_function(
            "() => [...document.querySelectorAll('audio')]"
            ".every(a => a.duration > 0)"
        )
        # A window of the tiny config: 544 samples at 8 kHz.
        secs = tab.evaluate("document.querySelector('audio').duration")
        assert secs == pytest.approx(544 / 8000, abs=1e-3)
        play = """async (a) => {
            const ended = new Promise((ok) => a.addEventListener("ended", ok));
            await a.play(); await ended; return a.currentTime;
        }"""
        first = tab.locator("audio").first
        assert first.evaluate(play) == pytest.approx(secs, abs=0.02)

        steps = sorted(
            int(p.stem[5:]) for p in trained_run.glob("samples/*.png")
        )
        assert len(steps) > 1
        visible = tab.locator("#frames img:not([hidden])")
        assert visible.get_attribute("data-step") == str(steps[-1])
        tab.locator("#slider").fill("0")
        assert visible.get_attribute("data-step") == str(steps[0])
        assert tab.locator("#step").inner_text() == f"step {steps[0]}"
        tab.locator("#play").click()
        tab.get_by_text(f"step {steps[-1]}", exact=True).wait_for()
        assert visible.count() == 1


@needs_browser
def test_all_clips_of_a_group_play_one_after_the_other(browser, page):
    with opened(browser, page) as tab:
        group = tab.locator("#generated")
        button = group.locator(".play-all")
        # A clip can be over before the test looks.
        group.evaluate(
            "(group) => { const played = [];"
            " window.firstThree = new Promise((resolve) =>"
            " group.querySelectorAll('audio').forEach((clip, index) =>"
            " clip.addEventListener('play', () => {"
            " if (played.push(index) === 3) resolve(played.slice()); }))); }"
        )
        button.click()
        assert button.inner_text() == "Stop"
        assert tab.evaluate("() => window.firstThree") == [0, 1, 2]
        assert tab.locator(".playing").count() <= 1
        # Another clip ends it.
        tab.locator("#real audio").first.evaluate("(clip) => clip.play()")
        group.get_by_text("Play all").wait_for()
        assert tab.locator(".playing").count() == 0
        button.click()
        button.click()
        assert button.inner_text() == "Play all"
        assert group.locator("audio").first.evaluate("(clip) => clip.paused")


def test_a_film_needs_several_frames(
    export, cached_shards, evaluation, trained_run, tmp_path
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    sources = report_lib.read_sources(export, cached_shards, evaluation)
    assert 'id="slider"' in report_lib.html(sources, run)
    for path in sorted(run.glob("samples/*.png"))[:-1]:
        path.unlink()
    html = report_lib.html(sources, run)
    assert 'id="slider"' not in html and "The preview of step 20" in html


# The lowest contrast of any text with the page, as WCAG 2 defines it.
CONTRAST = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((c) => {
            c /= 255;
            return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
        });
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const page = light(getComputedStyle(document.body).backgroundColor);
    const ratios = [...document.querySelectorAll("body *")]
        .filter((e) => e.innerText)
        .map((e) => light(getComputedStyle(e).color))
        .map((l) => (Math.max(l, page) + .05) / (Math.min(l, page) + .05));
    return [page, Math.min(...ratios)];
}"""


# How many elements have contents that are wider than they are.
SCROLLING = """() => [...document.querySelectorAll("body *")].filter((e) =>
    e.scrollWidth > e.clientWidth + 1 &&
    !["visible", "clip"].includes(getComputedStyle(e).overflowX)).length"""


@needs_browser
@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_readable_on_a_phone(browser, page, scheme, dark):
    with opened(browser, page, 390, scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        # Nor does a part of the page scroll sideways.
        assert tab.evaluate(SCROLLING) == 0
        widths = tab.locator("audio").evaluate_all(
            "(clips) => clips.map((clip) => clip.clientWidth)"
        )
        # Chromium hides the bar of narrower players.
        assert min(widths) > 240
        background, contrast = tab.evaluate(CONTRAST)
        assert (background < 0.1) == dark and (background > 0.9) != dark
        assert contrast >= 4.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--evaluation=nowhere"], "nowhere is not an evaluation"),
        (["--model=nowhere"], "belongs to a different export than nowhere"),
        (["--record=nowhere.json"], "nowhere.json"),
        (["--run=nowhere"], "nowhere contains no metrics of a training"),
        (["--data=nowhere"], "nowhere is not a data set"),
    ],
)
def test_bad_usage_is_one_line(
    export, cached_shards, evaluation, tmp_path, more, message, capsys
):
    path = tmp_path / "report.html"
    flags = [
        f"--model={export}",
        f"--data={cached_shards}",
        f"--output={path}",
    ]
    assert report.main([*flags, f"--evaluation={evaluation}", *more]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checks": None}, "was written by an earlier version; run"),
        ({"data_digest": "5ha"}, "used a different data set than"),
    ],
)
def test_an_evaluation_that_does_not_fit_must_be_made_again(
    export, cached_shards, evaluation, tmp_path, capsys, change, message
):
    copy = shutil.copytree(evaluation, tmp_path / "evaluation")
    text = json.loads((copy / "evaluation.json").read_text()) | change
    text = {name: value for name, value in text.items() if value is not None}
    (copy / "evaluation.json").write_text(json.dumps(text))
    flags = [f"--model={export}", f"--data={cached_shards}"]
    assert report.main([*flags, f"--evaluation={copy}"]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert error.endswith("run python -m stftgan_tf.evaluate again\n")
