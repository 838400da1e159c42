"""The configuration object: watched, replaced as a whole or not at all, read anew from its files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, EPROTO
from brokersim.protocol.message import FLAG_STREAMING
from brokersim.services.config_files import read_path
from tests.host.live import live, refused, write


@pytest.fixture
def picky(tmp_path: Path) -> str:
    """A module that keeps what it is offered and refuses what says ``bad``."""
    return write(
        tmp_path,
        "picky",
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.offered = []

        @request_handler("config-reload")
        def reload(self, msg):
            self.offered.append(msg.payload)
            if "bad" in msg.payload and "easy" not in self.args:
                raise RequestError(errnums.EINVAL, "bad is bad")
            self.handle.respond(msg)
        """,
    )


def test_a_new_configuration_is_taken_by_all_or_by_none(picky: str) -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(picky, name="first")
        await instance.load(picky, name="below", rank=1)
        await client.call("config.load", {"a": 1})
        first, below = (instance.module(rank, name) for rank, name in ((0, "first"), (1, "below")))
        await instance.sleep(1)
        assert first.handle.body.offered == below.handle.body.offered == [{"a": 1}]
        assert first.handle.conf_get("a") == below.handle.conf_get("a") == 1
        assert await instance.client(1).call("config.get") == {"a": 1}
        await client.call("config.load", {"a": 1})
        assert len(first.handle.body.offered) == 1  # nothing new

        await instance.load(picky, name="second")
        with refused(EINVAL, "error updating first: bad is bad"):
            await client.call("config.load", {"bad": 1})
        assert instance.module(0, "second").handle.body.offered == []
        assert instance.conf == {"a": 1}

    live(body, size=2)


def test_those_who_took_what_another_refuses_are_given_back_the_old(picky: str) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(picky, "easy", name="easy")
        await instance.load(picky)
        with refused(EINVAL, "error updating picky: bad is bad"):
            await instance.client().call("config.load", {"bad": 1})
        await instance.sleep(1)
        assert instance.module(0, "easy").handle.body.offered == [{"bad": 1}, {"old": 1}]
        assert instance.conf == {"old": 1}

    live(body, conf={"old": 1})


def test_who_watches_is_told_of_each_change() -> None:
    async def body(instance: Instance) -> None:
        seen: list[Any] = []
        watcher = instance.client(1)
        watcher.request(
            "config.get", None, lambda answer, _: seen.append(answer.payload), flags=FLAG_STREAMING
        )
        await instance.sleep(1)
        await instance.client().call("config.load", {"n": 1})
        await instance.sleep(1)
        watcher.close()
        await instance.client().call("config.load", {"n": 2})
        assert seen == [{}, {"n": 1}]

    live(body, size=2)


def test_only_rank_0_changes_it_and_only_to_an_object() -> None:
    async def body(instance: Instance) -> None:
        for topic in ("config.load", "config.reload"):
            with refused(EINVAL, "configuration can only be changed on rank 0"):
                await instance.client(1).call(topic, {"a": 1})
        with refused(EPROTO, "config.load: the payload is the configuration, an object"):
            await instance.client().call("config.load")

    live(body, size=2)


def test_reload_reads_the_files_anew(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text("a = 1\n")

    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("config.reload")
        assert await client.call("config.get") == {"a": 1}
        path.write_text("a = \n")
        with refused(EINVAL, f"configuration {path}: "):
            await client.call("config.reload")
        assert await client.call("config.get") == {"a": 1}

    live(body, attrs={"config.path": str(path)})


def test_a_folder_s_files_are_merged_and_what_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.toml").write_text("[a]\nb = 1\nc = 1\n")
    (tmp_path / "2.toml").write_text("[a]\nc = 2\n")
    (tmp_path / "not.txt").write_text("?")
    assert read_path(tmp_path) == {"a": {"b": 1, "c": 2}}
    (tmp_path / "x.json").write_text('{"n": [1]}')
    assert read_path(tmp_path / "x.json") == {"n": [1]}
    (tmp_path / "y.json").write_text("[1]")
    for name, text in (("y.json", "not an object, but list"), ("no.toml", "No such file or directory")):
        with pytest.raises(ValueError, match=f"configuration {tmp_path / name}: {text}"):
            read_path(tmp_path / name)


def test_a_folder_that_may_not_be_read_is_named_and_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    assert read_path(tmp_path) == {}
    monkeypatch.setattr("brokersim.files.os.listdir", refuse)
    with pytest.raises(ValueError, match=f"configuration {tmp_path}: Permission denied"):
        read_path(tmp_path)


def told(instance: Instance) -> list[str]:
    lines = instance.broker(0).log.lines()
    return [line.partition(" - - - ")[2] for line in lines if " config " in line]


def test_what_a_module_below_says_against_a_new_configuration_stands_in_the_log(picky: str) -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(picky, name="below", rank=1)
        await client.call("config.load", {"a": 1})
        await instance.sleep(1)
        assert told(instance) == []
        await client.call("config.load", {"bad": 1})
        await instance.sleep(1)
        assert told(instance) == ["below.config-reload: bad is bad"]

    live(body, size=2)
