"""The screen of `top` driven by keys: against a real instance over its socket, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="SKIPPING: no textual, no screen is drawn")

from textual.pilot import Pilot

from brokersim.cli.session import Session
from brokersim.cli.top import feed as top_feed
from brokersim.cli.top import read as top_read
from brokersim.cli.top.app import Help, TopApp
from brokersim.cli.top.plain import Watch
from brokersim.cli.top.read import Reader
from brokersim.net.client import Client, Unreachable
from tests.cli.fake_broker import SILENCE, FakeBroker, InTurn
from tests.cli.test_live import HELLO, started
from tests.cli.top.test_command import listed, mod, status

TIMEOUT = 60.0
#: Seconds between two states of the screen, and between looks at it: to draw it costs more than to wait for it, and a
#: key is not done with while something is drawn.
INTERVAL, LOOK = 0.2, 0.03
Script = Callable[["Driver"], Awaitable[None]]


class Driver:
    """Presses keys and waits for what they bring about."""

    def __init__(self, app: TopApp, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, is_so: Callable[[], object]) -> None:
        end = time.monotonic() + TIMEOUT
        while not is_so():
            assert time.monotonic() < end, f"it did not come about; there is\n{self.text}"
            await self.pilot.pause(LOOK)

    async def until_seen(self, *texts: str) -> None:
        def are_seen() -> bool:
            shown = self.text
            return all(text in shown for text in texts)

        await self.until(are_seen)

    async def go_to(self, rank: int, name: str) -> None:
        """The cursor to a module, by keys."""
        await self.press("home")
        await self.until(lambda: self.app.board.modules.rows)
        keys = [row.module.key for row in self.app.board.modules.rows]
        for _ in range(keys.index((rank, name))):
            await self.press("j")
        assert self.selected == (rank, name)

    @property
    def selected(self) -> tuple[int, str] | None:
        row = self.app.board.modules.selected
        return None if row is None else row.module.key

    @property
    def shown(self) -> list[tuple[int, str]]:
        return [row.module.key for row in self.app.board.modules.rows]

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())


def drive(
    uri: str,
    script: Script,
    size: tuple[int, int] = (120, 35),
    interval: float = INTERVAL,
    count: int | None = None,
    watch: Watch | None = None,
) -> TopApp:
    """The app after a script was played to it."""
    session = Session()
    session.uri = uri
    try:
        ranks = range(int(session.attribute("size")))
        app = TopApp(Reader(session, ranks, len(ranks)), watch or Watch(), uri, interval, count)

        async def play() -> None:
            async with app.run_test(size=size) as pilot:
                await script(Driver(app, pilot))

        asyncio.run(play())
    finally:
        session.close()
    return app


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a")


@pytest.fixture(scope="module")
def uri(tmp: Path) -> Iterator[str]:
    """An instance of two ranks; it ends when its command's stdin does."""
    modules = "content-cache,content-sqlite,kvs,job-manager"
    with started(tmp, "start", "-s", "2", "--stats", "mem:", "-m", modules) as uri:
        yield uri


@pytest.fixture
def client(uri: str) -> Iterator[Client]:
    with Client.connect(uri, timeout=TIMEOUT) as client:
        yield client


def listing(client: Client, rank: int, name: str) -> dict[str, Any]:
    mods = client.rpc("module.list", nodeid=rank)["mods"]
    return next(one for one in mods if one["name"] == name)


# --- what is shown


def test_every_module_of_every_rank_is_shown_with_the_rates_of_the_moment(uri: str, client: Client) -> None:
    async def script(driver: Driver) -> None:
        await driver.until_seen("size 2", "clock real", "jobs depend 0", "messages/s", "content-sqlite")
        assert driver.shown == [
            *((0, name) for name in ("content-cache", "content-sqlite", "kvs", "job-manager")),
            *((1, name) for name in ("content-cache", "kvs")),
        ]

        def is_counted() -> bool:
            client.rpc("kvs.ping", {"seq": 1}, 1)
            kvs = driver.app.board.modules.rows[-1]
            return bool(kvs.rx and kvs.tx and driver.app.seen.view and driver.app.seen.view.messages)

        await driver.until(is_counted)

    drive(uri, script)


@pytest.mark.parametrize("size", [(120, 35), (80, 24), (40, 15)])
def test_every_size_shows_names_rates_and_masks_and_nothing_wraps(size: tuple[int, int], uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until(lambda: len(driver.app.seen.history) > 1)
        lines = driver.text.splitlines()
        assert len(lines) == size[1]
        assert max(map(len, lines)) <= size[0]
        heading = next(line for line in lines if "Module" in line)
        assert {"Rank", "Module", "rx/s", "tx/s", "Mask"} <= set(heading.split())
        if size[0] >= 80:
            assert {"Wait", "Open", "p99", "Hook", "pkt/s"} <= set(heading.split())
        for rank, name in driver.shown:
            shown = name if size[0] >= 80 or len(name) <= 12 else name[:11] + "…"
            assert any(f"{rank} {shown}" in " ".join(line.split()) for line in lines), name
        assert "? keys" in lines[-1]
        await driver.press("question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, Help))
        text = driver.text
        assert all(word in text for word in ("PgUp", "gauges", "hook", "filter", "sort", "messages", "quit"))
        assert ("no room for " in text) == (size[0] < 120)
        assert ("p50 ms" in text.partition("no room for ")[2]) == (size[0] < 120)
        await driver.press("x")
        await driver.until(lambda: not isinstance(driver.app.screen, Help))

    drive(uri, script, size)


def test_before_the_first_look_it_says_that_one_is_on_its_way(fake: FakeBroker) -> None:
    fake.answers["module.list"] = SILENCE

    async def script(driver: Driver) -> None:
        await driver.until_seen("the first look is on its way")
        assert "filter" not in driver.text.partition("? keys")[0]

    drive(fake.uri, script)


def test_the_screen_follows_a_terminal_that_is_resized(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until_seen("p50 ms", "pkt/s")
        await driver.pilot.resize_terminal(40, 15)
        await driver.until(
            lambda: "p50 ms" not in driver.text and "content-cac…" not in driver.text.split("Mask")[0]
        )
        assert max(map(len, driver.text.splitlines())) <= 40
        await driver.pilot.resize_terminal(120, 35)
        await driver.until_seen("p50 ms")

    drive(uri, script)


def test_a_list_longer_than_the_screen_scrolls_with_the_cursor(fake: FakeBroker) -> None:
    names = [f"mod{number:03d}" for number in range(100)]
    answer = listed(1.0, *(mod(name, 1, 1) for name in names))
    fake.answers |= {"module.list": answer, "broker.status": status(1.0, 1)}

    async def script(driver: Driver) -> None:
        await driver.until_seen("mod000", "t messages  400 rows")
        await driver.press("end")
        assert driver.selected == (3, "mod099")
        await driver.until_seen("mod099")
        assert "mod000" not in driver.text
        await driver.press("pageup", "k", "up")
        await driver.press("home", "down")
        assert driver.selected == (0, "mod001")
        await driver.until_seen("mod000", "mod001")

    drive(fake.uri, script, (80, 24))


# --- keys


def test_space_sets_and_clears_the_bit_in_the_instance(uri: str, client: Client) -> None:
    async def script(driver: Driver) -> None:
        await driver.go_to(1, "kvs")
        await driver.press("space")
        await driver.until(lambda: listing(client, 1, "kvs")["mask"] == 0x1000)
        await driver.until_seen("1!kvs: sends its counters as gauges", "0x1000")
        assert listing(client, 0, "kvs")["mask"] == 0, "the other rank's is another module"
        await driver.until(lambda: (driver.app.board.modules.selected.module.packets or 0) > 0)  # type: ignore[union-attr]
        await driver.press("space")
        await driver.until(lambda: listing(client, 1, "kvs")["mask"] == 0)
        await driver.press("space", "space")
        await driver.until_seen("1!kvs: sends no gauges")
        assert listing(client, 1, "kvs")["mask"] == 0

    drive(uri, script)


def test_h_goes_through_the_hooks_and_the_instance_has_them(uri: str, client: Client) -> None:
    async def script(driver: Driver) -> None:
        await driver.go_to(0, "content-cache")
        for hook in ("check", "idle", "timer:1s", "prepare"):
            await driver.press("h")
            await driver.until(lambda: listing(client, 0, "content-cache")["hook"] == hook)  # noqa: B023
            await driver.until_seen(f"0!content-cache: hook {hook}")

    drive(uri, script)


def test_s_sorts_by_the_next_column_and_the_cursor_stays_on_its_module(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.go_to(0, "kvs")
        await driver.press("s")
        await driver.until_seen("sorted by name")
        assert [name for _, name in driver.shown] == sorted(name for _, name in driver.shown)
        assert driver.selected == (0, "kvs")
        for _ in range(7):
            await driver.press("s")
        await driver.until_seen("sorted by rank")

    drive(uri, script)


def test_a_filter_narrows_while_it_is_typed_and_escape_drops_it(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.go_to(0, "content-cache")
        await driver.press("slash", *"1", "exclamation_mark", "k", "asterisk")
        await driver.until(lambda: driver.shown == [(1, "kvs")])
        await driver.press("enter")
        await driver.until_seen("filter 1!k*")
        await driver.press("slash", "x")
        await driver.until_seen("no module is like the filter")
        await driver.press("escape")
        await driver.until(lambda: len(driver.shown) == 6)
        assert "filter" not in driver.text.splitlines()[-1].replace("/ filter", "")
        await driver.press("slash", "s", "q")
        assert driver.app.is_running, "keys are letters while a filter is typed"

    drive(uri, script)


def test_t_follows_the_messages_of_a_module_and_stops(uri: str, client: Client) -> None:
    async def script(driver: Driver) -> None:
        await driver.go_to(1, "kvs")
        await driver.press("t")
        await driver.until_seen("messages of 1!kvs")

        def is_seen() -> bool:
            client.rpc("kvs.ping", {"seq": 1}, 1)
            client.rpc("kvs.ping", {"seq": 1}, 0)
            return "rx > kvs.ping" in driver.text and "tx < kvs.ping" in driver.text

        await driver.until(is_seen)
        names = {entry["name"] for entry, *_ in driver.app.board.messages._lines}
        assert names == {"kvs"}
        seen = driver.app.board.messages.seen
        client.rpc("kvs.ping", {"seq": 1}, 1)
        await driver.until(lambda: driver.app.board.messages.seen > seen)
        await driver.press("k", "t")
        await driver.until_seen("messages of 1!content-cache")
        await driver.press("t")
        await driver.until(lambda: "messages of" not in driver.text)

    drive(uri, script)


def test_a_click_selects(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until(lambda: driver.shown)
        await driver.pilot.click("#modules", offset=(10, 3))
        assert driver.selected == driver.shown[2]
        await driver.pilot.click("#modules", offset=(10, 0))
        assert driver.selected == driver.shown[2]

    drive(uri, script)


@pytest.mark.parametrize(("key", "result"), [("q", type(None)), ("ctrl+c", KeyboardInterrupt)])
def test_q_and_ctrl_c_end_it(key: str, result: type, uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until(lambda: driver.app.seen.view is not None)
        await driver.press("slash" if key == "ctrl+c" else "j", key)

    app = drive(uri, script)
    assert isinstance(app.return_value, result)
    assert app.stopping.is_set()


# --- what befalls the instance


def test_a_module_that_is_loaded_comes_and_one_that_is_removed_goes(
    uri: str, client: Client, tmp: Path
) -> None:
    (tmp / "hello.py").write_text(HELLO)

    async def script(driver: Driver) -> None:
        await driver.until(lambda: len(driver.app.seen.history) > 0)
        client.rpc("module.load", {"path": str(tmp / "hello.py"), "args": []})
        await driver.until_seen("0!hello new")
        await driver.go_to(0, "hello")
        client.rpc("module.remove", {"name": "hello"})
        await driver.until(lambda: (0, "hello") not in driver.shown)
        assert driver.selected in driver.shown

    drive(uri, script)


def test_a_module_that_is_loaded_again_is_told_and_has_no_rates(fake: FakeBroker) -> None:
    answers = [listed(float(n), mod("kvs", 100, 1, uuid=str(n // 5))) for n in range(100)]
    fake.answers |= {"module.list": InTurn(*answers), "broker.status": status(1.0, 1)}

    async def script(driver: Driver) -> None:
        await driver.until_seen("0!kvs restarted", "restart")

    app = drive(fake.uri, script)
    assert app.seen.view is not None


def test_what_is_recorded_while_one_looks(uri: str, tmp: Path) -> None:
    async def script(driver: Driver) -> None:
        # Line by line while the file is open, so that it can be followed and nothing is lost with the screen.
        await driver.until(lambda: (tmp / "day.jsonl").read_text().count("\n") >= 2)
        await driver.press("q")

    with (tmp / "day.jsonl").open("wb") as file:
        drive(uri, script, watch=Watch(record=file))
    for line in (tmp / "day.jsonl").read_text().splitlines():
        assert len(json.loads(line)["modules"]) == 6


def test_after_so_many_intervals_it_ends_by_itself(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until(lambda: driver.app._exit)

    app = drive(uri, script, count=3)
    assert (app.return_value, len(app.seen.history)) == (None, 3)


def test_an_instance_that_ends_ends_the_screen(fake: FakeBroker) -> None:
    fake.answers |= {"module.list": listed(1.0, mod("kvs", 1, 1)), "broker.status": status(1.0, 1)}

    async def script(driver: Driver) -> None:
        await driver.until_seen("kvs")
        fake.close()
        await driver.until(lambda: driver.app._exit)

    assert isinstance(drive(fake.uri, script).return_value, Unreachable)


def test_keys_work_while_the_instance_does_not_answer(
    fake: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_read, "PATIENCE", 3600.0)
    monkeypatch.setattr(top_feed, "SILENCE", 0.0)
    fake.answers |= {
        "module.list": listed(1.0, mod("a", 1, 1), mod("b", 1, 1)),
        "broker.status": status(1.0, 1),
    }

    async def script(driver: Driver) -> None:
        await driver.until_seen(" b ")
        fake.answers |= {"module.list": SILENCE, "broker.status": SILENCE}
        await driver.until_seen("no answer for 0 s")
        await driver.press("j", "s")
        assert driver.selected == (0, "b")
        await driver.press("space")
        await driver.until_seen("0x0")
        await driver.press("q")

    begun = time.monotonic()
    drive(fake.uri, script)
    assert time.monotonic() - begun < TIMEOUT, "its end waits for nobody"


def test_what_is_refused_is_told_and_taken_back(fake: FakeBroker) -> None:
    fake.answers |= {"module.list": listed(1.0, mod("kvs", 1, 1)), "broker.status": status(1.0, 1)}

    async def script(driver: Driver) -> None:
        await driver.go_to(0, "kvs")
        await driver.press("space")  # the fake's kvs has no debug
        await driver.until_seen("0!kvs: Unknown service method 'kvs.debug' (ENOSYS)", "0x1000")
        await driver.press("t")
        await driver.until_seen("Unknown service method 'module.trace'")

    drive(fake.uri, script)


def test_the_terminals_own_colours_are_used(uri: str) -> None:
    async def script(driver: Driver) -> None:
        await driver.until(lambda: driver.shown)
        strips = driver.app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
        colors = {color for style in styles for color in (style.color, style.bgcolor) if color is not None}
        named = {color.number for color in colors if not color.is_default}
        assert named <= {1, 2, 5, 6}, "red, green, magenta and cyan are legible on dark and on light"
        assert not any(color.triplet for color in colors), "no colour of ours"

    drive(uri, script)


def test_the_import_of_the_screen_needs_no_trio() -> None:
    probe = "import sys, brokersim.cli.top.app; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], env={**os.environ}).returncode == 0
