"""Guests' events reach no handler that does not say so; modules that ask each other without end are told."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.errnums import EDEADLK, RequestError
from brokersim.protocol.message import ROLE_USER
from brokersim.routing import endpoint
from tests.host.live import live, write

LISTENING = """
    heard = ()

    @event_handler("news", prefix=False)
    def owners(self, msg):
        self.heard += (("owners", msg.userid),)

    @event_handler("news", prefix=False, allow_guest=True)
    def all(self, msg):
        self.heard += (("all", msg.userid),)

    @request_handler("heard")
    def tell(self, msg):
        self.handle.respond(msg, {"heard": self.heard})
"""


def publish(instance: Instance, topic: str, *, is_guest: bool) -> None:
    client = instance.client(name="publisher")
    if is_guest:
        client.userid, client.rolemask = 4242, ROLE_USER
    client.publish(topic, {})
    client.close()


def test_an_event_of_a_guests_reaches_only_handlers_that_allow_guests(tmp_path: Any) -> None:
    path = write(tmp_path, "listening", LISTENING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        for is_guest in (True, False, True):
            publish(instance, "news", is_guest=is_guest)
        await instance.sleep(1)
        heard = (await instance.client().call("listening.heard"))["heard"]
        heard = [list(one) for one in heard]
        mine = instance.owner
        assert heard == [["all", 4242], ["owners", mine], ["all", mine], ["all", 4242]]
        assert instance.broker(0).module("listening").counts[5] == 3, "counted like any, as in Flux"

    live(body, size=1)


def test_a_guests_event_clears_no_counters(tmp_path: Any) -> None:
    path = write(tmp_path, "listening", LISTENING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        before = list(instance.broker(0).module("listening").counts)
        publish(instance, "listening.stats-clear", is_guest=True)
        await instance.sleep(1)
        before[5] += 1
        assert instance.broker(0).module("listening").counts == before
        publish(instance, "listening.stats-clear", is_guest=False)
        await instance.sleep(1)
        assert instance.broker(0).module("listening").counts == [0] * 8

    live(body)


# --- asking without end

CALLING = """
    @request_handler("go")
    async def go(self, msg):
        await self.handle.call("OTHER.go", {})
        self.handle.respond(msg, {})
"""
SENDING = """
    @request_handler("go")
    def go(self, msg):
        self.handle.request("OTHER.go", {}, lambda answer, _: self.pass_on(msg, answer))

    def pass_on(self, msg, answer):
        if answer.errnum:
            self.handle.respond_error(msg, answer.errnum, answer.payload_str)
        else:
            self.handle.respond(msg, {})
"""


@pytest.mark.parametrize("source", [CALLING, SENDING])
@pytest.mark.parametrize("other", ["a", "b"])
def test_modules_that_ask_each_other_without_end_are_told_EDEADLK_and_live(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, source: str, other: str
) -> None:
    """One that asks itself, too. They ate memory until the machine was out of it."""
    monkeypatch.setattr(endpoint, "OPEN_LIMIT", 500)
    paths = [
        write(tmp_path, "a", source.replace("OTHER", other)),
        write(tmp_path, "b", source.replace("OTHER", "a")),
    ]

    async def body(instance: Instance) -> None:
        for path in paths:
            await instance.load(path)
        client = instance.client()
        for _ in range(2):
            with pytest.raises(
                RequestError, match=r"'a' has 500 requests open.* do modules call each other"
            ) as caught:
                await client.call("a.go", {})
            assert caught.value.errno == EDEADLK
        told = [line for line in instance.broker(0).log.lines() if "requests open" in line]
        assert len(told) == 1, "said once"
        assert instance.broker(0).module("a").pending == {}
        await instance.remove("a")
        assert [module.name for module in instance.modules(0)] == ["b"]

    live(body)


# --- the log


def test_a_log_line_that_comes_in_stays_one_line(tmp_path: Any) -> None:
    async def body(instance: Instance) -> None:
        forged = b"<6>1 - 0 x - - - a\n<0>1 - 0 kernel - - - forged\r\x1b[2J\0"
        instance.client().request("log.append", forged)
        await instance.sleep(1)
        (line,) = instance.broker(0).log.lines()
        assert line == "<6>1 - 0 x - - - a <0>1 - 0 kernel - - - forged  [2J"

    live(body)


REFUSING = """
    heard = ()

    @event_handler("news", prefix=False)
    def at_once(self, msg):
        raise RequestError(errnums.EINVAL, "not my kind of news")

    @event_handler("news", prefix=False)
    async def later(self, msg):
        await self.handle.sleep(1)
        await self.handle.call("nobody.there", {})

    @event_handler("news", prefix=False)
    def shapeless(self, msg):
        msg.unpack(int)

    @event_handler("news", prefix=False)
    def last(self, msg):
        self.heard += (msg.payload["n"],)

    @event_handler("worse", prefix=False)
    def worse(self, msg):
        raise ValueError("a mistake")
"""


@pytest.mark.parametrize("settings", [{}, {"seed": 3, "size": 2}])
def test_an_event_that_its_handlers_refuse_ends_no_module_and_the_others_still_get_it(
    tmp_path: Any, settings: dict[str, int]
) -> None:
    path = write(tmp_path, "refusing", REFUSING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        for n in range(2):
            client.publish("news", {"n": n})
        await instance.sleep(5)
        assert instance.broker(0).module("refusing").body.heard == (0, 1)
        told = [line for line in instance.broker(0).log.lines() if "event ignored: " in line]
        for reason in ("not my kind of news", "nobody", "news: Expected `int`, got `object`"):
            assert len([line for line in told if reason in line]) == 2, told
        client.publish("worse", {})
        await instance.sleep(1)
        assert instance.modules(0) == [], "another exception is a mistake of the module's own, as ever"

    live(body, **settings)


@pytest.mark.parametrize("form", ["def", "async def"])
def test_a_handler_that_yields_and_so_would_never_answer_is_refused_when_it_is_loaded(
    tmp_path: Any, form: str
) -> None:
    path = write(tmp_path, "endless", f"""
        @request_handler("ask")
        {form} ask(self, msg):
            while True:
                yield 1
    """)  # fmt: skip

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=r"M\.ask yields; it must return or respond, or be async"):
            await instance.load(path)

    live(body)


def test_the_child_of_a_handler_that_forks_is_ended_before_it_says_or_cleans_up_anything(
    tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "forking", """
        @request_handler("fork")
        def fork(self, msg):
            import os
            child = os.fork()
            if child:
                self.handle.respond(msg, {"status": os.waitpid(child, 0)[1]})
    """)  # fmt: skip

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        assert await client.call("forking.fork") == {"status": 1 << 8}
        assert await client.call("forking.fork") == {"status": 1 << 8}

    live(body)
    assert capfd.readouterr().err.count("a module has forked and let the child go on") == 2
