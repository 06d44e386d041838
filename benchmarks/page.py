"""Measures how fast the listening page answers, and draws it for the docs.

Starts the real server on an export and opens its page in Chromium. Prints the
time from a key press to the first sample that is not silent at the end of the
audio graph, and the same for a pointer that comes to a point of the map. The
browser adds its output latency, which the last line gives. Silence at the start
of a sample is subtracted. --record writes the animated picture of the docs.
"""

import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stftgan_tf import cli

EXAMPLE = "python benchmarks/page.py --model exports/fsdd"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_MAX_PICTURE_BYTES = 2_000_000

# A sample above it, about -60 dB, is sound.
_QUIET = 1e-3

# Waits for an event of a type, then for sound. The promise gives milliseconds,
# or null if nothing sounds.
_LISTEN = """async ([type, quiet]) => {
    const { page } = await import("/page/app.js");
    window.heard = new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        let start = 0;
        const end = (value) => {
            port1.close();
            resolve(value);
        };
        const look = () => {
            if (page.engine.peak() > quiet) end(performance.now() - start);
            else port2.postMessage(0);
        };
        port1.onmessage = look;
        const begin = (event) => {
            start = event.timeStamp;
            setTimeout(() => end(null), 3000);
            look();
        };
        addEventListener(type, begin, { capture: true, once: true });
    });
}"""

# Milliseconds of silence at the start of a sound.
_LEAD_MS = """async ([sound, quiet]) => {
    const { page } = await import("/page/app.js");
    const { buffer } = await page.library.get(sound);
    const limit = quiet / page.engine.volume.gain.value;
    const samples = buffer.getChannelData(0);
    const lead = samples.findIndex((value) => Math.abs(value) > limit);
    return 1000 * lead / buffer.sampleRate;
}"""

_SILENCE = """async () => {
    const { page } = await import("/page/app.js");
    page.engine.stopAll();
    while (page.engine.peak() > 1e-5) {
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
}"""


def key_times_ms(tab: Any, count: int) -> list[float]:
    """Times from pressing the key of the first pad to its sound."""
    sound = _state(tab)["pads"][0]
    times = [
        _time_ms(tab, "keydown", lambda: tab.keyboard.press("1"), sound)
        for _ in range(count)
    ]
    return [time for time in times if time is not None]


def hover_times_ms(tab: Any, seeds: list[int]) -> list[float]:
    """Times from pointing at seeds to their sounds."""
    times = []
    for seed in seeds:
        place = _place(tab, seed)
        tab.mouse.move(2, 2)

        def point(place: dict[str, float] = place) -> None:
            tab.mouse.move(place["x"], place["y"])

        times.append(_time_ms(tab, "pointermove", point))
    return [time for time in times if time is not None]


def _time_ms(
    tab: Any,
    event: str,
    action: Callable[[], None],
    sound: dict[str, Any] | None = None,
) -> float | None:
    """Milliseconds from an event to sound, without silence at its start.

    Args:
      tab: the page.
      event: type of the first event that the action causes.
      action: what makes the page play.
      sound: what it plays; the current one if None.
    """
    tab.evaluate(_SILENCE)
    tab.evaluate(_LISTEN, [event, _QUIET])
    action()
    time_ms = tab.evaluate("() => window.heard")
    if time_ms is None:
        return None
    sound = sound or _state(tab)["sound"]
    return time_ms - tab.evaluate(_LEAD_MS, [sound, _QUIET])


def _state(tab: Any) -> dict[str, Any]:
    return tab.evaluate(
        "() => import('/page/app.js').then(({ page }) => page.state)"
    )


def _place(tab: Any, seed: int) -> dict[str, float]:
    code = "(seed) => import('/page/app.js').then(({ map }) => map.place(seed))"
    return tab.evaluate(code, seed)


@contextlib.contextmanager
def _served(model: Path) -> Iterator[str]:
    """Yields the address of the page of a server process."""
    command = [sys.executable, "-m", "stftgan_tf.serve", f"--model={model}"]
    server = subprocess.Popen(
        [*command, "--port=-1", "--rest_api_port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in server.stdout:
            match = re.match(r"listen at (\S+)", line)
            if match:
                yield match[1]
                return
        raise RuntimeError("the server ended")
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def _opened(url: str, size: tuple[int, int], scheme: str) -> Iterator[Any]:
    """Yields the page, with its sound on."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS
        )
        viewport = {"width": size[0], "height": size[1]}
        tab = browser.new_page(viewport=viewport, color_scheme=scheme)
        tab.goto(url)
        tab.get_by_text("version", exact=False).first.wait_for()
        tab.locator("h1").click()
        tab.locator("#hint").wait_for(state="hidden")
        yield tab
        browser.close()


def measure(url: str, presses: int) -> None:
    """Prints the times."""
    with _opened(f"{url}#pads=0", (1280, 1000), "light") as tab:
        times = key_times_ms(tab, presses)
        _print("key to sound", times)
        # Far from each other, so that none is loaded in advance.
        seeds = list(range(1, 400, 400 // max(1, presses // 4)))
        _print("hover to sound, first time", hover_times_ms(tab, seeds))
        _print("hover to sound, loaded", hover_times_ms(tab, seeds))
        latency = tab.evaluate(
            "() => import('/page/app.js').then(({ page: { engine } }) =>"
            " [engine.context.baseLatency, engine.context.outputLatency])"
        )
        base, output = (1000 * secs for secs in latency)
        print(f"the browser adds: base {base:.1f} ms, output {output:.1f} ms")


def _print(what: str, times: list[float]) -> None:
    median, high = np.percentile(times, [50, 95])
    print(
        f"{what}: median {median:.1f} ms, p95 {high:.1f} ms of {len(times)}",
        flush=True,
    )


def record(url: str, path: Path) -> None:
    """Writes an animated picture of a short session on the page."""
    frames = []
    with _opened(f"{url}#walk=3~208~0", (1280, 1180), "light") as tab:

        def frame(count: int = 1) -> None:
            image = Image.open(io.BytesIO(tab.screenshot()))
            frames.extend([image.convert("RGB").resize((960, 885))] * count)

        seeds = [3, 44, 85, 126, 167, 208]
        for pad, seed in enumerate(seeds, 1):
            place = _place(tab, seed)
            tab.mouse.move(place["x"], place["y"])
            tab.wait_for_timeout(250)
            frame(2)
            tab.keyboard.press(f"Shift+Digit{pad}")
            frame()
        tab.keyboard.press("f")
        for pad, steps in enumerate([(0, 8), (4, 12), (2, 6, 10, 14)]):
            tab.locator(".pad").nth(pad).click()
            for step in steps:
                tab.locator(".step").nth(step).click()
            frame(2)
        tab.keyboard.press("s")
        for _ in range(12):
            tab.wait_for_timeout(60)
            frame()
        tab.keyboard.press("s")
        for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
            tab.locator("#weight").fill(str(weight))
            tab.wait_for_timeout(200)
            frame(2)
    _save(frames, path)


def _save(frames: list[Image.Image], path: Path) -> None:
    """As good as 2 MB allow."""
    for quality in (80, 65, 50, 35, 20):
        data = io.BytesIO()
        frames[0].save(
            data,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=180,
            loop=0,
            quality=quality,
            method=4,
        )
        if data.tell() <= _MAX_PICTURE_BYTES:
            break
    path.write_bytes(data.getvalue())
    print(f"{path}: {len(frames)} frames, {data.tell() / 1e6:.2f} MB")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    parser.add_argument(
        "--presses",
        type=int,
        default=100,
        help="key presses that are measured (default: 100)",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE.webp",
        help="write an animated picture of the page instead",
    )
    args = parser.parse_args(argv)
    with _served(args.model) as url:
        if args.record:
            record(url, args.record)
        else:
            measure(url, args.presses)
    return 0


if __name__ == "__main__":
    sys.exit(main())
