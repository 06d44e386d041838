import contextlib
import json
import re
import shutil

import pytest

from stftgan_tf import evaluate, report
from tests.browser import CHROMIUM, FLAGS, needs_browser


@pytest.fixture(scope="module")
def verdict(export, kept, tmp_path_factory):
    """Of an export that has learnt nothing, next to one blessed before."""
    folder = tmp_path_factory.mktemp("verdicts")
    first, second = folder / "first", folder / "second"
    flags = [f"--model={export}", f"--data={kept}", "--set=evaluate.seed=300"]
    assert evaluate.main([*flags, f"--blessing={first}"]) == 0
    flags += [f"--last_blessed={first}", f"--blessing={second}"]
    assert evaluate.main(flags) == 0
    return second


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Of an evaluation, and of what it came from; one name is hostile."""
    folder = tmp_path_factory.mktemp("records")
    plain = {"id": "x", "code": "c0de", "started": "2026-01-01", "secs": 1.5}
    first = {"step": "train", "output": "<script>throw 1</script>"}
    second = {"step": "evaluate", "output": "verdicts/1"}
    for name, made, inputs in (
        ("train.json", first, {}),
        ("evaluate.json", second, {"train.json": "5ha"}),
    ):
        made = {**plain, **made, "command": ["do", "it"], "inputs": inputs}
        (folder / name).write_text(json.dumps(made))
    return folder / "evaluate.json"


@pytest.fixture(scope="module")
def page(export, shards, trained, verdict, record, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    flags = [f"--model={export}", f"--data={shards}", f"--run={trained}"]
    flags += [f"--evaluation={verdict}", f"--record={record}"]
    assert report.main([*flags, f"--output={path}"]) == 0
    return path


def test_nothing_in_it_is_elsewhere(page):
    text = page.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert "NOT_BLESSED" in text
    # The samples that were judged are those that are shown.
    assert "seed 300" in text and "seed 0" not in text
    assert "&lt;script&gt;throw 1" in text and "<script>throw" not in text


@contextlib.contextmanager
def opened(page, width=1280, scheme="light"):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        size = {"width": width, "height": 800}
        context = browser.new_context(
            viewport=size, color_scheme=scheme, offline=True
        )
        tab = context.new_page()
        said = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
        tab.wait_for_load_state("load")
        yield tab
        assert said == []
        browser.close()


@needs_browser
def test_a_browser_shows_all_pictures_and_plays_all_sounds(page, shards):
    with opened(page) as tab:
        assert tab.title().startswith("Not blessed: ")
        tab.wait_for_function(
            "() => [...document.images]"
            ".every(i => i.complete && i.naturalWidth > 0)"
        )
        # 16 real, 16 generated, and 8 next to their neighbours.
        assert tab.locator("#windows figure img").count() == 32
        assert tab.locator("#neighbours audio").count() == 16
        tab.wait_for_function(
            "() => [...document.querySelectorAll('audio')]"
            ".every(a => a.duration > 0)"
        )
        # A window of the tiny config: 544 samples at 8 kHz.
        secs = tab.evaluate("document.querySelector('audio').duration")
        assert secs == pytest.approx(544 / 8000, abs=1e-3)
        ended = """async (a) => {
            const done = new Promise((ok) => a.addEventListener("ended", ok));
            await a.play(); await done; return a.currentTime;
        }"""
        first = tab.locator("audio").first
        assert first.evaluate(ended) == pytest.approx(secs, abs=0.02)


@needs_browser
def test_the_film_goes_through_the_training(page, trained):
    steps = sorted(int(p.stem[5:]) for p in trained.glob("samples/*.png"))
    assert len(steps) > 1
    shown = "#frames img:not([hidden])"
    with opened(page) as tab:
        assert tab.locator(shown).get_attribute("data-step") == str(steps[-1])
        tab.locator("#when").fill("0")
        assert tab.locator(shown).get_attribute("data-step") == str(steps[0])
        assert tab.locator("#step").inner_text() == f"step {steps[0]}"
        tab.locator("#play").click()
        last = tab.get_by_text(f"step {steps[-1]}", exact=True)
        last.wait_for()
        assert tab.locator(shown).count() == 1


# Of all texts, the least contrast with the page, as WCAG 2 counts it.
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


@needs_browser
@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_reads_on_a_phone_by_day_and_by_night(page, scheme, dark):
    with opened(page, 390, scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        background, contrast = tab.evaluate(CONTRAST)
        assert (background < 0.1) == dark and (background > 0.9) != dark
        assert contrast >= 4.5


def test_figures_stand_next_to_real_and_to_limits(page, verdict):
    found = json.loads((verdict / "evaluation.json").read_text())
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", page.read_text(), re.S)
    rows = {re.sub(r"<wbr>|<div.*", "", r[20:], flags=re.S): r for r in rows}
    row = rows["frechet"]
    for value in (
        found["real"]["frechet"],
        found["generated"]["frechet"],
        found["last_blessed"]["frechet"],
    ):
        assert f">{value:.4g}<" in row
    limits = [c["limit"] for c in found["checks"] if c["figure"] == "frechet"]
    assert len(limits) == 2
    assert all(f"at most {limit:.4g}" in row for limit in limits)
    broken = {c["figure"] for c in found["checks"] if not c["passed"]}
    assert (
        {name for name in rows if ">broken<" in rows[name]} == broken != set()
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--evaluation=nowhere"], "nowhere holds no verdict"),
        (["--model=nowhere"], "is of another export than nowhere"),
        (["--record=nowhere.json"], "nowhere.json cannot be read"),
        (["--data=nowhere"], "nowhere holds no data set"),
    ],
)
def test_bad_usage(export, shards, verdict, tmp_path, more, message, capsys):
    path = tmp_path / "report.html"
    flags = [f"--model={export}", f"--data={shards}", f"--output={path}"]
    assert report.main([*flags, f"--evaluation={verdict}", *more]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not path.exists()


def test_an_evaluation_of_before_is_refused(export, verdict, tmp_path, capsys):
    old = shutil.copytree(verdict, tmp_path / "old")
    found = json.loads((old / "evaluation.json").read_text())
    del found["checks"]
    (old / "evaluation.json").write_text(json.dumps(found))
    assert report.main([f"--model={export}", f"--evaluation={old}"]) == 1
    error = capsys.readouterr().err
    assert error.endswith("; evaluate it again\n") and error.count("\n") == 1


def test_a_run_that_was_killed_has_curves(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "critic_l')
    titles = [title for title, _ in report._curves(run, 20)]
    assert titles[0] == "Losses" and "Frechet distance" in titles
