"""A page in headless Chromium, for tests; where there is none they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SPOKEN_TO = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@contextmanager
def browser(microphone: Path | None = None) -> Iterator[Any]:
    """Chromium, driven by Playwright.

    Args:
        microphone: a WAV file that its microphone hears, again and again.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        heard = (f"--use-file-for-fake-audio-capture={microphone}", *SPOKEN_TO) if microphone else ()
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *heard])
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium: Any, address: str, *, width: int = 1000, dark: bool = False) -> Iterator[Any]:
    """A page that must neither fail nor ask for anything but its own address's host."""
    page = chromium.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    wrong: list[str] = []
    home = urlsplit(address).netloc
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "blob:", address))
            or urlsplit(request.url).netloc == home != ""
            else wrong.append(request.url)
        ),
    )
    try:
        page.goto(address)
        yield page
        assert not wrong, "\n".join(wrong)
    finally:
        page.close()


def wider_than_the_window(page: Any) -> int:
    """By how many pixels the page must be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def unreachable(page: Any) -> list[str]:
    """What axe finds that keeps people from using the page: with a keyboard, a screen reader, or weak eyes."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page.evaluate((resources.files(axe) / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run().then(found => found.violations)")
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]
