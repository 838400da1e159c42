"""statsd's TCP management commands."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
import trio

from brokersim.statsd_server.management import MAX_COMMAND, Management
from tests.statsd_server.harness import serving, settle, tcp_to, until


@pytest.fixture
async def management(mock_clock):
    async with serving(listen=("tcp://127.0.0.1:0",), management="127.0.0.1:0") as server:
        server.feed(b"a.b:1|c\na.c:2|c\nb:3|c\ng:4|g\nt:5|ms\nt:7|ms\ns:x|s\nnonsense")
        yield Management(server), server


TABLES = [
    ("counters", {"a.b": 1, "a.c": 2, "b": 3}),
    ("gauges", {"g": 4}),
    ("timers", {"t": [5.0, 7.0]}),
    ("sets", {"s": 1}),
]


@pytest.mark.parametrize(("command", "table"), TABLES)
async def test_a_table_is_json_and_ends_with_END_and_an_empty_line(management, command, table):
    reply = management[0].reply(command)
    assert reply.endswith("\nEND\n\n")
    assert json.loads(reply.removesuffix("END\n\n")) == table


async def test_deleting_names_what_went_and_what_was_not_there(management):
    commands, server = management
    assert (
        commands.reply("delcounters a.* nope") == "deleted: a.b\ndeleted: a.c\nmetric nope not found\nEND\n\n"
    )
    assert commands.reply("delgauges g") == "deleted: g\nEND\n\n"
    assert commands.reply("deltimers t") == "deleted: t\nEND\n\n"
    assert commands.reply("delsets s") == "deleted: s\nEND\n\n"
    assert commands.reply("delcounters") == "ERROR: name the counters to delete, such as a.b or a.*\n"
    assert set(server.flush_now().values) == {"counters.b.count", "counters.b.rate"}


async def test_stats_tells_ages_and_never_for_what_never_was(management, mock_clock):
    commands, _ = management
    mock_clock.jump(4)
    lines = commands.reply("stats").splitlines()
    assert lines[:3] == ["uptime: 4", "messages.last_msg_seen: 4", "messages.bad_lines_seen: 1"]
    assert lines[-2:] == ["END", ""]
    async with serving(listen=()) as silent:
        assert "messages.last_msg_seen: never\n" in Management(silent).reply("stats")


async def test_stats_tells_graphites_last_flush_in_statsds_words(mock_clock):
    with socket.create_server(("127.0.0.1", 0)) as carbon:
        carbon.setblocking(False)
        url = f"graphite://127.0.0.1:{carbon.getsockname()[1]}"
        async with serving(listen=(), outputs=(url,), own_metrics=False) as server:
            commands = Management(server)
            assert "graphite.last_flush: never\ngraphite.last_exception: never\n" in commands.reply("stats")
            server.feed(b"k:1|g")
            server.flush_now()
            await until(lambda: server.statistics().outputs[0].last_sent)
            mock_clock.jump(3)
            size = server.statistics().outputs[0].last_sent.bytes
            told = "graphite.last_flush: 3\ngraphite.last_exception: never\ngraphite.flush_time: 0\n"
            assert told + f"graphite.flush_length: {size}\n" in commands.reply("stats")


async def test_health_can_be_set_and_is_one_line(management):
    commands, server = management
    assert commands.reply("health") == "health: up\n"
    assert commands.reply("health down") == "health: down\n"
    assert not server.is_up
    assert commands.reply("health up") == "health: up\n"


async def test_help_lists_every_command_and_config_shows_nested_settings(management):
    commands, _ = management
    words = commands.reply("help").removeprefix("Commands: ").strip().split(", ")
    assert {"stats", "counters", "delcounters", "health", "config", "quit"} <= set(words)
    assert all(commands.reply(word) != "ERROR\n" for word in words)
    assert commands.reply("config").startswith("\n")
    assert "aggregator > percentiles: (90,)\n" in commands.reply("config")
    assert commands.reply("dance") == "ERROR\n"


async def test_commands_come_over_tcp_in_any_pieces_and_quit_closes(management):
    _, server = management
    async with await tcp_to(server.management_address) as client:
        await client.send_all(b"hea")
        await client.send_all(b"lth\r\nhealth down\nquit\n")
        received = b""
        while data := await client.receive_some(1000):
            received += data
        assert received == b"health: up\nhealth: down\n"


async def test_a_command_without_end_and_an_idle_client_are_let_go(management, mock_clock):
    _, server = management
    async with await tcp_to(server.management_address) as endless:
        await endless.send_all(b"x" * 3 * MAX_COMMAND)
        # Reset rather than closed, if the rest of it had not been read.
        with contextlib.suppress(trio.BrokenResourceError):
            assert await endless.receive_some(1) == b""
    async with await tcp_to(server.management_address) as idle:
        await idle.send_all(b"health\n")
        assert await idle.receive_some(100) == b"health: up\n"
        await settle()
        mock_clock.jump(601)
        assert await idle.receive_some(1) == b""
