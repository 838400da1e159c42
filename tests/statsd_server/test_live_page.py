"""The live page in a real browser: what one picks is drawn over time, and everything comes from the server itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
import trio

from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings
from tests.lab.show.browser import PROGRAM, WHY_NOT, Browser

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT),
    pytest.mark.xdist_group("browser"),
]
ROW = "[...document.querySelectorAll('tr.pick')].find(row => row.firstChild.textContent === '{key}')"
#: Of each line: its points, its colour, and how much room it takes on the page.
LINES = """
[...document.querySelectorAll('svg.chart polyline')].map(line => {
  const box = line.getBoundingClientRect();
  return [line.getAttribute('points'), getComputedStyle(line).stroke, box.width > 5 && box.height > 5];
})
"""
LEGEND = "[...document.querySelectorAll('svg.chart + div > div')].map(row => row.textContent)"


class Served:
    """A server in a thread of its own, which flushes when it is told to."""

    def __init__(self) -> None:
        told: Queue[Any] = Queue()
        settings = ServeSettings(listen=(), http="127.0.0.1:0", flush_s=3600.0, grace_s=1)
        self._server = StatsdServer(settings)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: self._server.run(task_status=task_status))
                told.put(trio.lowlevel.current_trio_token())

        self._thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
        self._thread.start()
        self._token = told.get(timeout=120)
        self.address = self._server.http_address

    def interval(self, lines: bytes) -> None:
        """Lines come in, and their interval ends."""

        def take() -> None:
            self._server.feed(lines)
            self._server.flush_now()

        trio.from_thread.run_sync(take, trio_token=self._token)

    def stop(self) -> None:
        trio.from_thread.run_sync(self._server.stop, trio_token=self._token)
        self._thread.join(30)


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.stop()


@pytest.fixture
def browser(tmp_path) -> Iterator[Browser]:
    with Browser(tmp_path) as found:
        yield found


def look(browser: Browser) -> None:
    """The page asks now, and not when its interval is over."""
    browser.run("turn().then(() => 1)")
    browser.settle()


def click(browser: Browser, key: str) -> None:
    x, y = browser.run(
        f"(() => {{ const box = {ROW.format(key=key)}.getBoundingClientRect();"
        " return [box.left + 20, box.top + box.height / 2]; })()"
    )
    browser.mouse("mousePressed", x, y, True)
    browser.mouse("mouseReleased", x, y, True)
    browser.settle()


def test_what_one_picks_is_drawn_over_time_each_on_its_own_scale(served: Served, browser: Browser):
    served.interval(b"load:1|g\nhits:2|c\nstill:7|g")
    browser.open(f"http://{served.address}/", 1280)
    look(browser)
    assert browser.run(LINES) == []
    click(browser, "load")
    for value in (3, 2):
        served.interval(b"load:%d|g\nhits:%d|c" % (value, 100 * value))
        look(browser)
    ((points, _, is_seen),) = browser.run(LINES)
    assert points == "692,152 704,8 716,80"
    assert is_seen
    assert browser.run(LEGEND) == ["load: 2 (1 to 3)"]
    # A second one by the keyboard; one that stands still lies at the bottom.
    browser.run(f"{ROW.format(key='still')}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'Enter'}}))")
    (_, first, _), (still, second, _) = browser.run(LINES)
    assert still == "692,152 704,152 716,152"
    assert first != second
    assert browser.run(LEGEND) == ["load: 2 (1 to 3)", "still: 7 (7 to 7)"]
    assert browser.run(f"{ROW.format(key='load')}.getAttribute('aria-selected')") == "true"
    # And away with the first.
    click(browser, "load")
    assert browser.run(LEGEND) == ["still: 7 (7 to 7)"]
    assert browser.errors == []
    assert {address.split("/")[2] for address in browser.fetched if "//" in address} == {served.address}


def test_of_more_than_one_has_colours_for_the_oldest_goes(served: Served, browser: Browser):
    served.interval(b"\n".join(b"g%d:%d|g" % (number, number) for number in range(8)))
    browser.open(f"http://{served.address}/", 1280)
    look(browser)
    for number in range(8):
        click(browser, f"g{number}")
    assert [row.partition(":")[0] for row in browser.run(LEGEND)] == [f"g{number}" for number in range(2, 8)]
    colours = [colour for _, colour, _ in browser.run(LINES)]
    assert len(set(colours)) == 6


def test_a_browser_with_a_narrow_window_has_the_chart_within_it(served: Served, browser: Browser):
    served.interval(b"load:1|g")
    browser.open(f"http://{served.address}/", 390)
    look(browser)
    browser.run(f"{ROW.format(key='load')}.click()")
    served.interval(b"load:2|g")
    look(browser)
    left, right = browser.run(
        "(box => [box.left, box.right])(document.querySelector('svg.chart').getBoundingClientRect())"
    )
    assert left >= 0
    assert right <= 390
    # Rows fold: every value of a timer is within the window, nothing has to be scrolled for.
    served.interval(b"flux.content-cache.store:%d|ms\nhits:123456789|c" % 10**9)
    look(browser)
    cut = browser.run(
        "[...document.querySelectorAll('td, th')].filter(cell => { const box = cell.getBoundingClientRect();"
        " return box.width && (box.right > 390 || cell.scrollWidth > cell.clientWidth + 1); })"
        ".map(cell => cell.textContent)"
    )
    assert cut == []
    assert (
        browser.run(
            "[...document.querySelectorAll('section')].filter(part => part.scrollWidth > part.clientWidth)"
            ".map(part => [part.textContent, part.scrollWidth, part.clientWidth])"
        )
        == []
    )
    assert browser.run("document.documentElement.scrollWidth") <= 390


def test_of_many_keys_the_page_asks_for_what_it_shows_and_what_is_picked(served: Served, browser: Browser):
    served.interval(b"\n".join(b"g%d:%d|g" % (number, number) for number in range(1000)))
    browser.open(f"http://{served.address}/", 1280)
    look(browser)
    assert browser.run("Object.keys(last.gauges).length") == 200
    assert browser.run("document.querySelector('h2').textContent") == "Gauges (1,000, first 200 shown)"
    browser.run("$('filter').value = 'G99'")
    look(browser)
    assert browser.run("Object.keys(last.gauges)") == ["g99", *(f"g{number}" for number in range(990, 1000))]
    browser.run(f"{ROW.format(key='g999')}.click()")
    # Picked, it goes on over time whatever the filter says.
    browser.run("$('filter').value = 'g1'")
    served.interval(b"g999:5|g")
    look(browser)
    assert browser.run(LEGEND) == ["g999: 5 (5 to 999)"]
