"""When cron entries are due, against models; what an entry counts; what its command may be."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.cron.action import Ask, Publish, ShellCommand, to_action
from modules.cron.command import LINES_MAX, OUTPUT_MAX, Output
from modules.cron.entry import Entry
from modules.cron.options import sync_option
from modules.cron.schedule import OnEvent, to_schedule

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def wakeups(schedule, count, start=START):
    """The first ``count`` times it is due, when it is woken exactly then."""
    schedule.start(start)
    due = []
    while schedule.next_wakeup is not None and len(due) < count:
        due.append(schedule.next_wakeup)
        schedule.fired(schedule.next_wakeup)
    return due


@given(st.integers(1, 1000), st.none() | st.integers(0, 1000), st.integers(1, 20))
def test_an_interval_is_due_after_its_delay_and_then_every_interval(interval, after, count):
    args = {"interval": interval} | ({} if after is None else {"after": after})
    first = interval if after is None else after
    assert wakeups(to_schedule("interval", args, True), count) == [
        START + first + interval * n for n in range(count)
    ]


@given(st.floats(0.5, 100), st.floats(0, 1000))
def test_a_late_interval_is_called_once_and_not_in_a_burst(interval, late):
    schedule = to_schedule("interval", {"interval": interval}, True)
    schedule.start(START)
    now = schedule.next_wakeup + late
    schedule.fired(now)
    assert schedule.next_wakeup >= now
    assert schedule.next_wakeup <= now + interval


@given(st.integers(0, 5), st.integers(0, 6), st.integers(1, 40))
def test_events_are_counted_from_the_after_th_and_each_nth_runs(nth, after, count):
    schedule = OnEvent(topic="x", nth=nth, after=after)
    schedule.start(START)
    ran = [number for number in range(1, count + 1) if schedule.event(START + number, 0.0)]
    assert ran == [n for n in range(1, count + 1) if n >= after and (not nth or (n - after) % nth == 0)]
    assert schedule.counter == count


@given(st.lists(st.floats(0.01, 3), max_size=40), st.floats(0.5, 4))
def test_runs_on_events_are_never_closer_than_the_minimal_interval(gaps, least):
    schedule = OnEvent(topic="x", min_interval=least)
    schedule.start(START)
    now, runs = START, []
    for gap in gaps:
        at = now + gap
        if schedule.next_wakeup is not None and schedule.next_wakeup <= at:
            runs.append(schedule.next_wakeup)
            schedule.fired(schedule.next_wakeup)
        now = at
        if schedule.event(now, runs[-1] if runs else 0.0):
            runs.append(now)
    assert all(second - first >= least - 1e-4 for first, second in pairwise(runs))
    assert not gaps or runs, "the first event runs at once"


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 10**8))
def test_a_daily_expression_is_due_at_that_time_of_each_day(minute, hour, offset):
    start = START + offset
    due = wakeups(to_schedule("datetime", {"expression": f"{minute} {hour} * * *"}, True), 3, start)
    moment = datetime.fromtimestamp(start, UTC).replace(minute=minute, hour=hour, second=0, microsecond=0)
    if moment.timestamp() <= start:
        moment += timedelta(days=1)
    assert due == [(moment + timedelta(days=n)).timestamp() for n in range(3)]


@given(st.integers(1, 30), st.integers(0, 10**7))
def test_a_stepped_expression_agrees_with_counting_minutes(step, offset):
    start = START + offset
    due = wakeups(to_schedule("datetime", {"expression": f"*/{step} * * * *"}, True), 5, start)
    minute, model = int(start // 60), []
    while len(model) < 5:
        minute += 1
        if (minute % 60) % step == 0:
            model.append(minute * 60.0)
    assert due == model


def test_one_moment_comes_once_and_a_passed_one_is_now():
    assert wakeups(to_schedule("at", {"time": START + 90}, True), 5) == [START + 90]
    assert wakeups(to_schedule("at", {"time": 3}, True), 5) == [START]


@pytest.mark.parametrize(
    ("kind", "args", "says"),
    [
        ("hourly", {}, "unknown type 'hourly'; there are interval, event, datetime, at"),
        ("interval", {}, "interval must be a number of seconds"),
        ("interval", {"interval": 10**400}, "interval must be a number of seconds"),
        ("interval", {"interval": 0}, "or 0 with an after, not 0"),
        ("interval", {"interval": "10s"}, "not '10s'"),
        ("interval", {"interval": 1, "after": -1}, "after must be a number"),
        ("interval", {"interval": True}, "interval must be a number"),
        ("event", {"nth": 3}, "topic must be the topic of an event"),
        ("event", {"topic": "[a" * 300}, "a glob has at most 500 characters"),
        ("event", {"topic": "x", "nth": -1}, "nth must be a count"),
        ("datetime", {"expression": "every day"}, "five fields"),
        ("datetime", {"expression": "61 * * * *"}, "Bad minute"),
        ("datetime", {"expression": 5}, "expression must be a string"),
        ("datetime", {"minute": 60}, "minute '60' is none: give numbers 0 to 59"),
        ("datetime", {"weekday": "someday"}, "weekday 'someday'"),
        ("datetime", {"hour": "5-2"}, "hour '5-2'"),
        ("datetime", {"second": "*/0"}, "second"),
        ("datetime", {"mday": [1]}, "mday"),
        ("at", {"time": "noon"}, "time must be a number"),
        ("at", {"time": float("nan")}, "time must be a number"),
    ],
)
def test_a_schedule_that_cannot_be_is_named_with_what_would_be_right(kind, args, says):
    with pytest.raises(ValueError, match=says):
        to_schedule(kind, args, True)


def entry_of(**more):
    schedule = to_schedule("interval", {"interval": 1}, True)
    entry = Entry(
        id=1,
        name="x",
        command="x",
        action=Publish(topic="x"),
        type="interval",
        schedule=schedule,
        ctime=0.0,
        **more,
    )
    entry.start(START)
    return entry


@given(st.integers(0, 4), st.integers(0, 3), st.lists(st.sampled_from(["due", "ok", "fail"]), max_size=30))
def test_an_entrys_counts_add_up_whatever_happens(repeat, stop_on_failure, steps):
    entry = entry_of(repeat=repeat, stop_on_failure=stop_on_failure)
    began = ended = 0
    for step in steps:
        if step == "due" and not entry.stopped:
            if entry.due():
                entry.began(START)
                began += 1
        elif step != "due" and entry.task is not None:
            ended += 1
            entry.ended(START, 0 if step == "ok" else 256, "Exited")
    assert entry.success + entry.failure == ended
    assert began - ended == (entry.task is not None)
    assert entry.total == entry.count == began
    assert not repeat or entry.count <= repeat
    assert entry.stopped == bool(
        (repeat and entry.count == repeat) or (stop_on_failure and entry.failcount >= stop_on_failure)
    )


def test_a_run_that_comes_due_while_one_is_under_way_is_dropped():
    entry = entry_of()
    assert entry.due()
    entry.began(START)
    assert [entry.due(), entry.due()] == [False, False]
    assert (entry.deferred, entry.total) == (0, 1)
    entry.ended(START, 0, "Exited")
    assert entry.due()


def test_starting_and_stopping_twice_is_refused():
    entry = entry_of()
    with pytest.raises(ValueError, match="cron-1 is not stopped"):
        entry.start(START)
    entry.stop()
    with pytest.raises(ValueError, match="cron-1 is stopped already"):
        entry.stop()


def test_a_command_is_a_shell_command_an_event_or_a_message():
    assert to_action("date", None, "/x", {"A": "b"}) == ShellCommand(
        text="date", cwd="/x", environment={"A": "b"}
    )
    assert to_action('event:my.topic {"a": 1}', None, None, None) == Publish(
        topic="my.topic", payload={"a": 1}
    )
    assert to_action("event: my.topic", None, None, None) == Publish(topic="my.topic")
    assert to_action("-", {"topic": "kvs.ping"}, None, None) == Ask(topic="kvs.ping")
    assert to_action("-", {"topic": "x", "type": "event", "payload": {}}, None, None) == Publish(
        topic="x", payload={}
    )


@pytest.mark.parametrize(
    ("command", "message", "says"),
    [
        (" ", None, "command must be"),
        ("a\0b", None, "command must be"),
        ("event:", None, "'' is no topic"),
        ("event:t {", None, "payload is not JSON"),
        ("event:t [1]", None, "payload must be a JSON object"),
        ("event:t " + "[" * 100_000, None, "payload is not JSON: maximum recursion depth"),
        ("x", {"topic": "two words"}, "is no topic"),
        ("x", {"topic": "t", "type": "signal"}, "type must be event or request"),
        ("x", {"topic": "t", "payload": 3}, "payload must be a JSON object"),
    ],
)
def test_a_command_that_cannot_be_is_named(command, message, says):
    with pytest.raises(ValueError, match=says):
        to_action(command, message, None, None)


@pytest.mark.parametrize(
    ("cwd", "environ"), [("a\0b", None), (None, {"A=B": "c"}), (None, {"A": "\0"}), (None, {"": "x"})]
)
def test_a_directory_or_variable_that_no_process_can_have_is_refused(cwd, environ):
    with pytest.raises(ValueError, match="NUL"):
        to_action("true", None, cwd, environ)


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_output_is_cut_into_the_lines_it_has_however_it_arrives(pieces):
    lines = []
    output = Output(lines.append)
    for piece in pieces:
        output.feed(piece)
    output.close()
    text = b"".join(pieces).split(b"\n")
    assert lines == [line.decode(errors="replace") for line in (text[:-1] if text[-1] == b"" else text)]


@pytest.mark.parametrize("data", [b"y\n" * 5000, b"y" * 200_000])
def test_endless_output_is_bounded_and_said_to_be(data):
    lines = []
    output = Output(lines.append)
    for at in range(0, len(data), 4096):
        output.feed(data[at : at + 4096])
    output.close()
    assert lines[-1] == "… further output is dropped"
    assert len(lines) <= LINES_MAX + 1
    assert sum(map(len, lines)) <= OUTPUT_MAX + 4096


def test_runs_wait_for_the_sync_event_unless_it_has_just_come():
    off, on = sync_option(()), sync_option(("sync=heartbeat.pulse", "sync_epsilon=20ms"))
    assert not off.must_wait(START)
    on.last = START
    assert [on.must_wait(START + late) for late in (0.01, 0.03, 1.0)] == [False, True, True]
    with pytest.raises(ValueError, match="unknown argument 'sync'; there are"):
        sync_option(("sync",))


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("2026-10-25T00:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        # Begun in the second of two equal hours: the first one's 02:30 has passed.
        ("2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00", "2026-10-27T02:30+01:00"]),
    ],
)
def test_an_expression_in_local_time_fires_once_on_days_when_the_clock_is_set(berlin, start, expected):
    calendar = to_schedule("datetime", {"expression": "30 2 * * *"}, False)
    due = wakeups(calendar, 2, datetime.fromisoformat(start).timestamp())
    assert due == [datetime.fromisoformat(one).timestamp() for one in expected]


def test_a_million_intervals_of_a_tenth_of_a_second_do_not_drift():
    schedule = to_schedule("interval", {"interval": 0.1, "after": 0}, True)
    schedule.start(0.0)
    for _ in range(1_000_000):
        schedule.fired(schedule.next_wakeup)
    assert schedule.next_wakeup == 100000.0
