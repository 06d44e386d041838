"""The listening page: its files, and the page in a browser."""

import contextlib
import io
import json
import shutil
import time
import zipfile

import pytest
import requests

from stftgan_tf import sample
from stftgan_tf.serving.model_config import ModelConfig
from stftgan_tf.serving.options import ServerOptions
from tests.browser import CHROMIUM, FLAGS, needs_browser

pytest.importorskip("starlette")

SCRIPT = "<script>throw 1</script>"

# Sounds of the page, and the flags of `sample` that make the same files.
FAVOURITES = {
    "3": ["--seed=3"],
    "5:t0.7": ["--seed=5", "--truncation=0.7"],
    "4:s0.15": ["--seed=4", "--secs=0.15"],
    "3~9~0.25": ["--interpolate", "3", "9", "--num=5"],
    "2:l7": ["--seed=2", "--label=7"],
    "3~9~0.5:l7": ["--interpolate", "3", "9", "--num=3", "--label=7"],
    "6:s0.15:l7": ["--seed=6", "--secs=0.15", "--label=7"],
}

# A page imports its own modules again, so tests see what the page uses.
PARTS = "const { map, page, pads } = await import('/page/app.js');"


# The highest sample of the last 0.7 s: sounds of the tiny config are shorter
# than a look from outside takes.
LISTEN = """
    let ear, samples = new Float32Array(32768);
    const listen = () => {
        if (!page.engine.context) return 0;
        ear ??= new AnalyserNode(page.engine.context, { fftSize: 32768 });
        page.engine.analyser.connect(ear);
        ear.getFloatTimeDomainData(samples);
        return samples.reduce((peak, s) => Math.max(peak, Math.abs(s)), 0);
    };
    window.listen = listen;
    page.engine.wake = ((wake) => () => { wake(); listen(); })(
        page.engine.wake.bind(page.engine));
"""


def start(models, **options):
    from stftgan_tf.serving.server import Server

    ports = {"port": -1, "rest_api_port": 0}
    models = {name: ModelConfig(path) for name, path in models.items()}
    return Server(ServerOptions(models, **(ports | options)))


def url_of(server):
    return f"http://127.0.0.1:{server.rest_api_port}/"


@pytest.fixture(scope="module")
def base(export, tmp_path_factory):
    """Version 1 is the shared export, with a hostile model card."""
    directory = tmp_path_factory.mktemp("page") / "digits"
    shutil.copytree(export, directory / "1")
    (directory / "1" / "model_card.md").write_text(f"# {SCRIPT}\n\n{SCRIPT}\n")
    verdict = {
        "blessed": True,
        "real": {"ndb": 3},
        "generated": {"ndb": 4.5},
        "checks": [{"figure": "ndb", "passed": True}],
    }
    text = json.dumps({"verdict": verdict})
    (directory / "1" / "pushed.json").write_text(text)
    return directory


@pytest.fixture(scope="module")
def url(base, labelled, half_plus_two):
    """The address of a server of three models."""
    models = {"digits": base, "labels": labelled.path, "half": half_plus_two}
    server = start(models)
    yield url_of(server)
    server.stop()


def test_every_answer_of_the_page_is_locked_down(url):
    for path in ("", "page/app.js", "page/style.css", "page/models/digits"):
        response = requests.get(url + path)
        assert response.status_code == 200, path
        headers = response.headers
        policy = headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert not any("unsafe" in part or "http" in part for part in policy)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in headers
        tag = {"If-None-Match": headers["etag"]}
        assert requests.get(url + path, headers=tag).status_code == 304
    assert requests.head(url).status_code == 200
    assert requests.post(url).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "page/",
        "page/index.html/",
        "page/../rest_service.py",
        "page/%2e%2e/rest_service.py",
        "page/..%2frest_service.py",
        "page/models/..%2f..%2fetc",
        "page/models/nothing",
        "/etc/passwd",
    ],
)
def test_paths_do_not_reach_the_file_system(url, path):
    session = requests.Session()
    request = requests.Request("GET", url).prepare()
    # `requests` would shorten `..` itself.
    request.url = url + path
    response = session.send(request)
    assert response.status_code == 404
    assert list(response.json()) == ["error"]


def test_the_page_can_be_switched_off(half_plus_two):
    server = start({"half": half_plus_two}, page=False)
    for path in ("", "page/app.js", "page/models", "page/models/half"):
        response = requests.get(url_of(server) + path)
        assert response.status_code == 404
        assert response.json() == {"error": f"no such path: /{path}"}
    server.stop()


def test_models_are_listed_with_what_is_known_about_them(url):
    rows = requests.get(f"{url}page/models").json()["models"]
    assert [row["name"] for row in rows] == ["digits", "labels", "half"]
    assert [row["version"] for row in rows] == [1, 1, 123]
    answer = requests.get(f"{url}page/models/digits").json()
    assert answer["version"] == 1
    assert set(answer["about"]) == {"facts", "map", "card", "verdict"}
    assert answer["about"]["facts"]["sample_rate_hz"] == 8000


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    # Sound requires a click, as for everybody.
    flags = [flag for flag in FLAGS if "autoplay" not in flag]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*flags, "--enable-precise-memory-info"],
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, url, width=1280, scheme="light", quiet=True, **more):
    size = {"width": width, "height": 844}
    context = browser.new_context(viewport=size, color_scheme=scheme, **more)
    tab = context.new_page()
    messages, hosts = [], set()
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    tab.goto(url)
    tab.get_by_text("version 1", exact=False).first.wait_for()
    tab.evaluate(f"async () => {{ {PARTS} {LISTEN} }}")
    yield tab
    assert messages == [] or not quiet
    # A download has the address of a blob.
    assert hosts - {url.split("/")[2]} <= {""}
    context.close()


def ask(tab, code):
    """The value of an expression of the page's parts."""
    return tab.evaluate(f"async () => {{ {PARTS} return {code}; }}")


def wait_until(tab, code, secs=10):
    """Waits for an expression; Playwright's own waiting needs `eval`."""
    deadline = time.monotonic() + secs
    while not ask(tab, code):
        assert time.monotonic() < deadline, code
        tab.wait_for_timeout(20)


@contextlib.contextmanager
def sound(tab):
    """Checks that something sounds because of a block."""
    wait_until(tab, "window.listen() < 1e-5")
    yield
    wait_until(tab, "window.listen() > 1e-4")


def hover(tab, seed):
    place = ask(tab, f"map.place({seed})")
    tab.mouse.move(place["x"], place["y"])
    return place


def now(tab):
    return tab.locator("#now").inner_text()


@needs_browser
def test_a_hover_plays_after_the_first_click(browser, url):
    with opened(browser, url) as tab:
        hint = tab.get_by_text("Sound is off.")
        assert hint.is_visible()
        hover(tab, 7)
        tab.get_by_text("seed 7", exact=False).first.wait_for()
        assert ask(tab, "page.engine.peak()") == 0
        tab.locator("h1").click()
        wait_until(tab, "page.engine.context?.state === 'running'")
        hint.wait_for(state="hidden")
        # The sound under the pointer waited for the click.
        wait_until(tab, "window.listen() > 1e-4")
        with sound(tab):
            hover(tab, 30)
        # The spectrogram has more than one colour.
        colours = """new Set(document.querySelector('#spectrogram')
            .getContext('2d').getImageData(0, 0, 20, 64).data).size"""
        assert ask(tab, colours) > 10
        assert tab.locator("#khz").inner_text() == "4 kHz"
        wait_until(tab, "page.engine.peak() === 0")


@needs_browser
def test_only_the_last_of_many_hovers_is_loaded_and_plays(browser, url):
    with opened(browser, url) as tab:
        tab.locator("h1").click()
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        ask(tab, "[...Array(200).keys()].map((s) => map.on.hover(s)) && 0")
        tab.get_by_text("seed 199", exact=False).first.wait_for()
        # The first one, the last one, and a few neighbours of each.
        assert sum(":predict" in url for url in asked) <= 8


@needs_browser
def test_keys_play_pads_at_once(browser, url, capsys):
    from benchmarks import page as benchmark

    with opened(browser, f"{url}#pads=3,5,,,,,,,9") as tab:
        tab.locator("h1").click()
        wait_until(tab, "page.engine.running")
        with sound(tab):
            tab.keyboard.press("q")
        assert "seed 9" in tab.locator(".pad[aria-pressed=true]").inner_text()
        times = benchmark.key_times_ms(tab, 10)
        with capsys.disabled():
            print(f"\nkey to sound: {sorted(times)[5]:.1f} ms", end="")
        # A machine that is busy is slow; the benchmark measures.
        assert sorted(times)[5] < 100


@needs_browser
def test_the_walk_sounds_different_at_each_place(browser, url):
    with opened(browser, f"{url}#walk=3~9~0") as tab:
        tab.locator("h1").click()
        texts, wavs = [], []
        slider = tab.locator("#weight")
        for key in ("ArrowRight", "PageUp", "End"):
            slider.press(key)
            weight = slider.input_value()
            tab.get_by_text(f"seeds 3 to 9 at {weight}").first.wait_for()
            texts.append(now(tab))
            wavs.append(
                ask(tab, "page.library.peek(page.state.sound).wav.join()")
            )
        assert len(set(texts)) == len(set(wavs)) == 3
        # The whole walk is loaded in advance.
        wait_until(tab, "page.library.peek({seeds: [3, 9], weight: 0.5})")
        # The end of the walk is its second seed.
        tab.locator("#seed").fill("9")
        tab.locator("#seed").press("Enter")
        wait_until(tab, "page.library.peek({seed: 9})")
        assert ask(tab, "page.library.peek({seed: 9}).wav.join()") == wavs[2]


@needs_browser
def test_the_address_contains_everything_on_the_page(browser, url):
    with opened(browser, f"{url}#model=labels") as tab:
        tab.locator("h1").click()
        tab.locator("#label").select_option("7")
        hover(tab, 12)
        tab.locator("#truncation").fill("0.5")
        tab.keyboard.press("Shift+Digit2")
        tab.keyboard.press("f")
        tab.locator("#set-b").click()
        tab.locator("#steps button").nth(4).click()
        tab.locator("#tempo").fill("150")
        tab.locator("#gain").fill("-6")
        tab.locator("#zoom-in").click()
        tab.wait_for_timeout(400)
        link = tab.url
        for part in (
            "model=labels&version=1&sound=12:t0.5:l7&label=7",
            "truncation=0.5&walk=0~12~0&pads=,12:t0.5:l7",
            "steps=0,10,0,0,0,0,0,0,0,0,0,0,0,0,0,0&pad=1&tempo=150&gain=-6",
            "favourites=12:t0.5:l7&view=0.5,0.5,1.5",
        ):
            assert part in link
    with opened(browser, link) as tab:
        assert ask(tab, "map.view.scale") == 1.5
        assert ask(tab, "page.state.pads[1].truncation") == 0.5
        assert tab.locator("#label").input_value() == "7"
        assert tab.locator("#favourites li").count() == 1
        tab.wait_for_timeout(400)
        assert tab.url == link
        # Another link in the same page.
        tab.evaluate("() => { location.hash = 'model=digits&sound=4' }")
        wait_until(tab, "page.library.model.name === 'digits'")
        assert tab.locator("#favourites li").count() == 0


@needs_browser
def test_a_damaged_link_shows_the_page(browser, url):
    link = (
        f"{url}#label=%E0%A4%A&sound=-1&pads=x,7&steps=zz&view=9&walk=3&gain=x"
    )
    with opened(browser, link) as tab:
        assert ask(tab, "page.state.sound.seed") == 0
        assert ask(tab, "page.state.pads[1].seed") == 7
        assert ask(tab, "map.view.scale") == 1


@needs_browser
def test_the_zip_contains_the_files_of_sample(browser, url, labelled, tmp_path):
    link = f"{url}#model=labels&favourites={','.join(FAVOURITES)}"
    with opened(browser, link) as tab:
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Download as zip").click()
        assert download.value.suggested_filename == "labels-favourites.zip"
        data = download.value.path().read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    favourites = json.loads(archive.read("favourites.json"))
    assert (favourites["model"], favourites["version"]) == ("labels", 1)
    assert favourites["samples"][1] == {
        "file": archive.namelist()[1],
        "seed": 5,
        "truncation": 0.7,
    }
    assert favourites["samples"][3]["seeds"] == [3, 9]
    assert favourites["samples"][4]["label"] == "7"
    rows = zip(favourites["samples"], FAVOURITES.values(), strict=True)
    for number, (row, flags) in enumerate(rows):
        output = tmp_path / str(number)
        args = [f"--model={labelled.path}", f"--output={output}", *flags]
        if not any("--num" in flag for flag in flags):
            args.append("--num=1")
        assert sample.main(args) == 0
        # A drawn label is in the name only if the map knows the seed.
        assert archive.read(row["file"]) == (output / row["file"]).read_bytes()


@needs_browser
def test_what_is_played_is_recorded(browser, url):
    with opened(browser, f"{url}#pads=3") as tab:
        tab.locator("h1").click()
        wait_until(tab, "page.engine.running")
        tab.get_by_role("button", name="Record").click()
        tab.wait_for_timeout(300)
        tab.keyboard.press("1")
        tab.wait_for_timeout(300)
        with tab.expect_download() as download:
            tab.locator("#record").click()
        assert download.value.suggested_filename == "digits.wav"
        import soundfile

        audio, rate_hz = soundfile.read(download.value.path())
    assert rate_hz == 48000 and 0.5 < len(audio) / rate_hz < 3
    assert abs(audio[: rate_hz // 5]).max() == 0
    assert abs(audio[rate_hz // 5 :]).max() > 1e-3


@needs_browser
def test_the_sequencer_plays_its_steps_in_time(browser, url):
    with opened(browser, f"{url}#pads=3,5&steps=1111,10&tempo=240") as tab:
        tab.locator("h1").click()
        wait_until(tab, "page.engine.running")
        tab.evaluate(
            f"""async () => {{ {PARTS}
                window.starts = [];
                const play = page.engine.play.bind(page.engine);
                page.engine.play = (buffer, channel, when) => {{
                    window.starts.push([channel, when]);
                    play(buffer, channel, when);
                }};
            }}"""
        )
        wait_until(tab, "page.library.peek({seed: 5})")
        tab.keyboard.press("s")
        wait_until(tab, "window.starts.length >= 6")
        assert tab.locator("#sequence").inner_text() == "Stop"
        tab.keyboard.press("s")
        starts = tab.evaluate("() => window.starts")
    channels = [channel for channel, _ in starts[:6]]
    assert channels.count("pad 1") in (1, 2)
    beats = [when for channel, when in starts if channel == "pad 0"]
    steps = [b - a for a, b in zip(beats[:-1], beats[1:], strict=True)]
    # A step at tempo 240 takes 62.5 ms.
    assert steps == pytest.approx([0.25] * len(steps), abs=1e-6)


@needs_browser
def test_a_point_is_dragged_onto_a_pad(browser, url):
    with opened(browser, url) as tab:
        # So that the map and a pad are visible together.
        tab.set_viewport_size({"width": 1280, "height": 1500})
        tab.locator("h1").click()
        hover(tab, 21)
        tab.mouse.down()
        box = tab.locator(".pad").nth(10).bounding_box()
        tab.mouse.move(box["x"] + 20, box["y"] + 20, steps=5)
        assert tab.locator("#ghost").inner_text().startswith("seed 21")
        tab.mouse.up()
        assert "seed 21" in tab.locator(".pad").nth(10).inner_text()
        assert tab.locator("#ghost").count() == 0
        # By button, as on a phone.
        hover(tab, 22)
        tab.get_by_role("button", name="Put on a pad").click()
        tab.locator(".pad").nth(10).click()
        assert "seed 22" in tab.locator(".pad").nth(10).inner_text()
        tab.get_by_role("button", name="Clear pad").click()
        assert "empty" in tab.locator(".pad").nth(10).inner_text()


@needs_browser
def test_a_finger_plays(browser, url):
    with opened(browser, url, 390, has_touch=True, is_mobile=True) as tab:
        place = ask(tab, "map.place(5)")
        with sound(tab):
            tab.touchscreen.tap(place["x"], place["y"])
        seed = ask(tab, "page.state.sound.seed")
        tab.locator("#to-pad").tap()
        tab.locator(".pad").nth(2).tap()
        assert f"seed {seed}" in tab.locator(".pad").nth(2).inner_text()


@needs_browser
def test_the_keyboard_is_enough(browser, url):
    with opened(browser, url) as tab:
        tab.keyboard.press("m")
        assert tab.evaluate("() => document.activeElement.id") == "map"
        seeds = []
        for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
            before = ask(tab, "map.place(page.state.sound.seed)")
            tab.keyboard.press(key)
            after = ask(tab, "map.place(page.state.sound.seed)")
            seeds.append(ask(tab, "page.state.sound.seed"))
            axis = "y" if key in ("ArrowUp", "ArrowDown") else "x"
            sign = 1 if key in ("ArrowRight", "ArrowDown") else -1
            assert sign * (after[axis] - before[axis]) >= 0
        assert len(set(seeds)) > 1
        wait_until(tab, "window.listen() > 1e-4")
        with sound(tab):
            tab.keyboard.press("Enter")
        tab.keyboard.press("f")
        tab.keyboard.press("Shift+KeyI")
        assert f"seed {seeds[-1]}" in tab.locator(".pad").nth(15).inner_text()
        tab.keyboard.press("+")
        assert ask(tab, "map.view.scale") == 1.5
        # Every control is reached by Tab, and shows it.
        reached, outlines = set(), set()
        for _ in range(60):
            tab.keyboard.press("Tab")
            where = tab.evaluate(
                "() => { const e = document.activeElement; return [e.id"
                " || e.className.split(' ')[0] || e.textContent,"
                " getComputedStyle(e).outlineStyle]; }"
            )
            reached.add(where[0])
            outlines.add(where[1])
            if where[0] == "" and len(reached) > 5:
                break
        controls = {"model", "show-about", "map", "zoom-in", "play", "seed"}
        controls |= {"truncation", "gain", "weight", "sequence", "record"}
        assert controls | {"step", "pad", "export", "Remove"} <= reached
        assert outlines - {"none"} == {"solid"}
        tab.locator("#show-keys").focus()
        tab.keyboard.press("Enter")
        assert tab.get_by_role("dialog").is_visible()
        # Keys of pads do nothing while a dialog is open.
        tab.keyboard.press("3")
        tab.keyboard.press("Escape")
        assert not tab.locator("dialog[open]").count()
        assert "empty" in tab.locator(".pad").nth(2).inner_text()


@needs_browser
def test_cards_and_figures_are_text(browser, url):
    with opened(browser, url) as tab:
        tab.locator("#show-about").click()
        dialog = tab.get_by_role("dialog")
        text = dialog.inner_text()
        assert SCRIPT in text and "Blessed" in text
        row = dialog.get_by_role("row").nth(1).inner_text()
        assert row.split() == ["ndb", "3", "4.5", "passed"]
        assert tab.locator("script").count() == 1
        dialog.get_by_role("button", name="Close").click()


@needs_browser
def test_a_model_of_others_gets_one_plain_line(browser, url):
    with opened(browser, url) as tab:
        tab.locator("#model").select_option("half")
        message = "half is not an export of this project, so this page"
        tab.get_by_text(message).wait_for()
        assert tab.locator("#version").inner_text() == "version 123"
        tab.locator("#model").select_option("digits")
        tab.locator("#play").click()
        tab.get_by_text("seed 0", exact=False).first.wait_for()
        assert tab.get_by_text(message).is_hidden()


@needs_browser
def test_a_grid_replaces_the_map_and_errors_are_those_of_the_server(
    browser, export, tmp_path
):
    shutil.copytree(export, tmp_path / "old")
    (tmp_path / "old" / "map.json").unlink()
    server = start({"old": tmp_path / "old"}, max_request_bytes=20)
    with opened(browser, url_of(server), quiet=False) as tab:
        tab.get_by_text("Export the model again to get one.").wait_for()
        hover(tab, 399)
        tab.get_by_text("expected at most 20 bytes").wait_for()
        assert tab.get_by_role("alert").is_visible()
        assert ask(tab, "page.state.sound.seed") == 399
    server.stop()


@needs_browser
def test_the_page_survives_the_server(browser, base):
    server = start({"digits": base})
    url, port = url_of(server), server.rest_api_port
    with opened(browser, url, quiet=False) as tab:
        tab.locator("h1").click()
        with sound(tab):
            hover(tab, 3)
        server.stop()
        hover(tab, 399)
        tab.get_by_text("The server does not answer.").wait_for()
        # Sounds that are loaded still play.
        with sound(tab):
            hover(tab, 3)
        server = start({"digits": base}, rest_api_port=port)
        alert = tab.get_by_role("alert")
        alert.wait_for(state="hidden")
        hover(tab, 399)
        wait_until(tab, "page.library.peek({seed: 399})")
        assert alert.is_hidden()
    server.stop()


@needs_browser
def test_a_new_version_plays_without_a_reload(
    browser, base, labelled, tmp_path
):
    directory = tmp_path / "digits"
    shutil.copytree(base, directory)
    server = start({"digits": directory}, file_system_poll_wait_seconds=0.1)
    with opened(browser, f"{url_of(server)}#pads=5", quiet=False) as tab:
        tab.locator("h1").click()
        hover(tab, 3)
        wait_until(tab, "page.library.peek({seed: 3})")
        old = ask(tab, "page.library.peek({seed: 3}).wav.join()")
        shutil.copytree(labelled.path, tmp_path / "next")
        (tmp_path / "next").rename(directory / "2")
        tab.get_by_text("version 2: version 2 replaced version 1").wait_for()
        assert tab.locator("#label").is_visible()
        tab.keyboard.press("p")
        wait_until(tab, "page.library.peek({seed: 3})")
        assert ask(tab, "page.library.peek({seed: 3}).wav.join()") != old
        # The old link says so.
        link = f"{url_of(server)}#model=digits&version=1&sound=3"
        tab.goto("about:blank")
        tab.goto(link)
        tab.get_by_text("this link was made with version 1").wait_for()
    server.stop()


# The lowest contrast of any visible text with what is behind it, as WCAG 2
# defines it, and the lowest contrast of the points with the map.
CONTRAST = """async () => {
    const canvas = new OffscreenCanvas(1, 1)
        .getContext("2d", { willReadFrequently: true });
    const light = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => {
            c /= 255;
            return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
        });
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }
        return "white";
    };
    const ratio = (a, b) => {
        const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
        return (high + .05) / (low + .05);
    };
    const isText = (node) => node.nodeType === 3 && node.data.trim();
    const texts = [...document.querySelectorAll("body *")]
        .filter((e) => [...e.childNodes].some(isText) && e.checkVisibility())
        .map((e) => [ratio(getComputedStyle(e).color, behind(e)), e.outerHTML]);
    texts.sort((a, b) => a[0] - b[0]);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const { groupColour } = await import("/page/map.js");
    const panel = behind(document.querySelector("#map"));
    const points = [...Array(60).keys()]
        .map((group) => ratio(groupColour(group, dark), panel));
    return [light(behind(document.body)), texts[0], Math.min(...points)];
}"""


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_and_large_enough(
    browser, url, width, scheme, tmp_path
):
    link = f"{url}#model=labels&pads=3,5:l7&favourites=3&steps=1111"
    with opened(browser, link, width, scheme) as tab:
        tab.locator("h1").click()
        with sound(tab):
            hover(tab, 3)
        tab.screenshot(path=tmp_path / "page.png", full_page=True)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        for id in ("", "show-about", "show-keys"):
            if id:
                tab.locator(f"#{id}").click()
            background, text, points = tab.evaluate(CONTRAST)
            assert (background < 0.1) == (scheme == "dark")
            assert text[0] >= 4.5, text
            assert points >= 3
            tab.keyboard.press("Escape")
        sizes = tab.locator("button, select, input").evaluate_all(
            "(all) => all.filter((e) => e.checkVisibility())"
            ".map((e) => [e.outerHTML, e.offsetWidth, e.offsetHeight])"
        )
        assert [size for size in sizes if min(size[1:]) < 44] == []


@needs_browser
@pytest.mark.slow
def test_memory_does_not_grow_with_hovers(browser, url):
    with opened(browser, url) as tab:
        tab.locator("h1").click()
        # So that most sounds are dropped and loaded again.
        ask(tab, "page.library.maxBytes = 1e6")
        session = tab.context.new_cdp_session(tab)
        sizes = []
        for _ in range(4):
            for seed in range(0, 400, 8):
                for other in range(10):
                    hover(tab, (seed + 37 * other) % 400)
            tab.wait_for_timeout(500)
            assert ask(tab, "page.library.bytes") <= 1e6
            session.send("HeapProfiler.collectGarbage")
            sizes.append(session.send("Runtime.getHeapUsage")["usedSize"])
        assert sizes[-1] < 1.3 * sizes[0], sizes
