"""The pictures of README and the gallery, made by Gatework itself.

    gatework demo                               # into runs/demo: a translator of dates
    python docs/pictures.py runs/demo [--screenshot]

`--screenshot` photographs the report and the service's page too (playwright, and Chromium at /usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import math
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import gatework as gw
from gatework.cli import main
from gatework.inspect import draw_alignment

PICTURES = Path(__file__).parent / "pictures"
DATE = "en Saturday, November 21, 2026"
HOURS = 24 * 7 * 8
BROWSER = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)


def small(path: Path, height: int | None = None) -> None:
    """Writes a picture again with 192 colours, of its upper part where a height is given."""
    with Image.open(path) as picture:
        part = picture.crop((0, 0, picture.width, height or picture.height)).convert("RGB")
    part.convert("P", palette=Image.Palette.ADAPTIVE, colors=192).save(path, optimize=True)


def of_a_run(run: Path, screenshot: bool) -> None:
    """What a translator looks at, its gates, and the page that tells all of it."""
    model = gw.load(run)
    answer = model.predict(DATE, alignment=True)[0]
    draw_alignment(**answer["alignment"], path=PICTURES / "alignment.png")
    with tempfile.TemporaryDirectory() as folder:
        report = model.inspect(DATE, Path(folder) / "report.html")
        drawn = {path.name: path for path in report.draw(folder)}
        (PICTURES / "gates.png").write_bytes(drawn["decoder.l0.png"].read_bytes())
        if screenshot:
            photograph(Path(folder) / "report.html", PICTURES / "report.png")
            of_the_service(run)
    small(PICTURES / "gates.png")


@contextmanager
def browser_page() -> Iterator[Any]:
    """A new page of Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(BROWSER))
        yield browser.new_page(viewport={"width": 900, "height": 900})
        browser.close()


def photograph(page: Path, path: Path) -> None:
    """A report as Chromium shows it."""
    with browser_page() as shown:
        shown.goto(f"file://{page}")
        shown.wait_for_selector("html[data-drawn]", timeout=60_000)
        shown.screenshot(path=str(path), full_page=True)
    small(path, 1384)


def of_the_service(run: Path) -> None:
    """The service's page, asked for a date, with a gate turned off."""
    command = [sys.executable, "-m", "gatework", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, browser_page() as shown:
        assert server.stderr is not None
        url = next(found[1] for line in server.stderr if (found := re.search(r"(http://\S+:\d+) ", line)))
        shown.goto(url)
        shown.wait_for_selector("html[data-ready]", timeout=60_000)
        shown.locator("textarea").first.fill(DATE)
        shown.get_by_role("button", name="Answer").click()
        shown.wait_for_selector("canvas.heat", timeout=60_000)
        shown.locator(".gates input[type=range]").fill("0")
        shown.wait_for_selector("text=as it is:", timeout=60_000)
        shown.screenshot(path=str(PICTURES / "page.png"), full_page=True)
        server.terminate()
    small(PICTURES / "page.png", 1130)


def of_gradients() -> None:
    """The gradient of an Elman network, which vanishes, and of an LSTM whose forget gate begins nearly open."""
    for cell, forget_bias in (("elman", None), ("lstm", 4.0)):
        torch.manual_seed(0)
        layer, x = gw.Recurrent(cell, 8, 32, forget_bias=forget_bias), torch.randn(100, 4, 8)
        path = PICTURES / f"gradient-flow-{cell}.png"
        gw.inspect.draw_gradient_flow(gw.inspect.gradient_flow(layer, x), path)
        small(path)


def of_a_forecast() -> None:
    """The load of a made-up town, two days ahead."""
    chooser = random.Random(0)
    times = np.datetime64("2024-01-01T00") + np.arange(HOURS)
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "load.csv", Path(folder) / "run"
        work = [0.3 if t // 24 % 7 >= 5 else 1 for t in range(HOURS)]
        load = [
            60 + work[t] * 15 * math.sin(2 * math.pi * (t % 24 - 8) / 24) + chooser.gauss(0, 2)
            for t in range(HOURS)
        ]
        rows = [f"{time}:00,{value:.2f}\n" for time, value in zip(times, load, strict=True)]
        data.write_text("time,load\n" + "".join(rows))
        model = gw.Forecaster(horizon=48, hidden_size=32, dropout=0.1, epochs=5)
        model.fit(data, columns={"target": "load"}, out=run)
        path = PICTURES / "forecast.png"
        main(["predict", str(run), str(data), "--out", f"{folder}/ahead.csv", "--plot", str(path)])
    small(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of `gatework demo`")
    parser.add_argument("--screenshot", action="store_true", help="also photograph the pages")
    given = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    of_a_run(given.run, given.screenshot)
    of_gradients()
    of_a_forecast()
