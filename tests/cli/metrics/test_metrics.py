"""The commands about statistics: what they ask, how rows and the absence of ranks are told, exit codes."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.cli.metrics import words
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, ENOSYS, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker, InTurn

RECORD: dict[str, Any] = {
    "uid": "t.1.x", "name": "t", "epoch": 1, "requested": 1000.0, "cut": [1000.0, 1000.001], "completed": 1000.002,
    "rows": 2, "ok": "0-3", "missing": "", "departed": "", "stale": "", "restarted": "", "truncated": [],
    "carried": 0, "late": 0, "dup": 0, "foreign": 0, "merged_epochs": 0, "watch_off": False, "is_quorate": True,
    "faults": [],
}  # fmt: skip
ROWS = [
    {
        "key": {"module": "kvs", "type": "request_rx"},
        "n": 4,
        "begin": 1.0,
        "end": 2.0,
        "sum": 12,
        "p50": 0.123456789,
    },
    {
        "key": {"module": "cron"},
        "n": 1,
        "begin": 1.0,
        "end": 2.0,
        "sum": 1,
        "topk": [["a", 5, 1], ["b", 2, 0]],
    },
]


@pytest.fixture
def served(fake: FakeBroker) -> FakeBroker:
    fake.answers["metrics.create"] = {"name": "t", "hash": "h", "is_new": True, "note": ""}
    fake.answers["metrics.gather"] = [{"rows": ROWS[:1]}, {"rows": ROWS[1:]}, {"record": RECORD}]
    return fake


@pytest.mark.parametrize(
    ("line", "definition"),
    [
        ("counters", {"name": "counters", "reducers": [{"stream": "counters", "apply": ["sum"]}]}),
        (
            "lat stream=rpc.time apply=quantile,max --by host --break 1m",
            {"name": "lat", "epoch": 60.0, "reducers": [
                {"stream": "rpc.time", "apply": ["quantile", "max"], "normalize": {"keep": ["host"]}}]},
        ),
        (
            "two stream=a apply=sum stream=b --at sum>=10,20 -r 1-3 --retain --sink file=/x --param topk_size=5",
            {"name": "two", "threshold": {"value": "sum", "series": [10, 20]}, "ranks": "1-3", "retain": True,
             "sinks": [{"file": "/x"}], "reducers": [
                {"stream": "a", "apply": ["sum"], "params": {"topk_size": 5}},
                {"stream": "b", "apply": ["sum"], "params": {"topk_size": 5}}]},
        ),
        (
            "net stream=conn --mask 24 --where kind=t*",
            {"name": "net", "reducers": [
                {"stream": "conn", "apply": ["sum"], "normalize": {"mask": 24}, "where": {"kind": "t*"}}]},
        ),
    ],
)  # fmt: skip
def test_add_makes_a_definition(served: FakeBroker, run: Run, line: str, definition: dict[str, Any]) -> None:
    assert run("metrics", "add", *line.split()).code == 0
    assert served.asked("metrics.create") == [{"definition": definition}]
    assert served.nodeids("metrics.create") == [0]


def test_add_loads_the_module_on_every_rank_where_nobody_serves_it(fake: FakeBroker, run: Run) -> None:
    created = {"name": "counters", "hash": "h", "is_new": True, "note": ""}
    fake.answers["metrics.create"] = InTurn(RequestError(ENOSYS), created)
    fake.answers["module.load"] = None
    result = run("metrics", "add", "counters")
    assert (result.code, result.err) == (0, "loaded metrics on ranks 0-3\n")
    assert fake.nodeids("module.load") == [0, 1, 2, 3]


def test_what_is_no_stat_is_refused_before_the_module_is_loaded(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.create"] = RequestError(ENOSYS)
    result = run("metrics", "add", "t", "stream=x", "apply=summ")
    assert (result.code, result.err.splitlines()[0]) == (
        2,
        "error: stat t: no reducer 'summ'; did you mean sum?",
    )
    assert "module.load" not in fake.topics


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "countres",
            "countres is no ready-made stat: name what it counts, such as stream=rpc.time; did you mean counters",
        ),
        ("zz", "ready-made ones are counters, content.load"),
        ("t stream", "metrics add: 'stream' is no NAME=VALUE"),
        ("t streams=x", "streams= is not known here; give stream= and apply="),
        ("t stream=x --by a --mask 8", "--by and --mask both change keys"),
        ("t stream=x --at sum=5", "not a threshold: 'sum=5'; give one like 'sum>=1000'"),
        ("t stream=x --at sum>=x", "not a threshold: 'sum>=x'"),
        ("t stream=x --sink file", "--sink: 'file' is no NAME=VALUE"),
        ("t stream=x -r 3-1", "counts down"),
    ],
)
def test_what_is_no_definition_is_a_usage_error(served: FakeBroker, run: Run, line: str, says: str) -> None:
    result = run("metrics", "add", *line.split())
    assert result.code == 2
    assert says in result.err
    assert "metrics.create" not in served.topics


@pytest.mark.parametrize(
    ("mods", "says"),
    [
        (
            [{"name": "content"}],
            "content.load: a Flux's content module does not observe content.load: nothing will",
        ),
        ([{"name": "content-cache", "tx": {}}], ""),
        ([], ""),
    ],
)
def test_a_stream_that_nobody_observes_in_a_real_flux_is_told(
    served: FakeBroker, run: Run, mods: list[dict[str, object]], says: str
) -> None:
    served.answers["module.list"] = {"mods": mods}
    result = run("metrics", "add", "content.load")
    assert (result.code, result.err.startswith(says), bool(result.err)) == (0, True, bool(says))
    run("metrics", "add", "counters")
    assert served.topics.count("module.list") == 1


def test_what_the_module_refuses_is_told_in_its_words(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.create"] = RequestError(EINVAL, "stat t: no reducer 'summ'; did you mean sum?")
    result = run("metrics", "add", "t", "stream=x", "apply=summ")
    assert (result.code, result.err.splitlines()[0]) == (
        2,
        "error: stat t: no reducer 'summ'; did you mean sum?",
    )
    fake.answers["metrics.create"] = RequestError(EEXIST, "stat t is there already")
    result = run("metrics", "add", "t", "stream=x")
    assert (result.code, result.err) == (
        4,
        "error: stat t is there already\n  try:  brokersim metrics list\n",
    )
    fake.answers["metrics.create"] = RequestError(EEXIST)
    assert run("metrics", "add", "t", "stream=x").err.startswith(f"error: {RequestError(EEXIST)}\n")


def test_collect_prints_keys_and_results(served: FakeBroker, run: Run) -> None:
    result = run("metrics", "collect", "t", "--by", "module", "--top", "5")
    assert served.asked("metrics.gather") == [{"name": "t", "by": ["module"], "top": 5}]
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Module  Type        N  Sum       p50  Topk\n"
        "kvs     request_rx  4   12  0.123457  -\n"
        "cron    -           1    1         -  a:5±1 b:2\n"
    )


def test_a_field_that_no_key_has_is_told(served: FakeBroker, run: Run) -> None:
    served.answers["metrics.gather"] = [{"rows": [{"key": {"modul": None, "type": "x"}, "n": 1, "sum": 1}]}]
    result = run("metrics", "collect", "t", "--by", "modul,type", "--partial-ok")
    assert result.err == "t: no key has a field modul\n"


def test_ranks_that_are_missing_are_named_and_a_failure(served: FakeBroker, run: Run) -> None:
    record = {**RECORD, "missing": "3,7-8", "truncated": [["4", '{"str":"b"}']]}
    served.answers["metrics.gather"] = [{"rows": ROWS}, {"record": record}]
    result = run("metrics", "collect", "t")
    assert (result.code, result.err) == (1, 't: missing 3,7-8; truncated 4 behind {"str":"b"}\n')
    assert run("metrics", "collect", "t", "--partial-ok").code == 0
    told = run("metrics", "collect", "t", "--json")
    assert (told.code, told.json) == (1, {"rows": ROWS, "record": record})


def test_an_epoch_of_nothing_says_so(served: FakeBroker, run: Run) -> None:
    served.answers["metrics.gather"] = [{"record": RECORD}]
    result = run("metrics", "collect", "t")
    assert (result.code, result.out, result.err) == (0, "", "t: nothing was observed in this epoch\n")


def test_without_the_module_the_way_is_shown(fake: FakeBroker, run: Run) -> None:
    for command in (["collect", "t"], ["show", "t", "k"], ["log", "t"], ["rm", "t"]):
        result = run("metrics", *command)
        assert result.code == 4
        assert result.err == (
            "error: nobody counts here: the module metrics is not loaded on rank 0 (ENOSYS)\n"
            "  try:  brokersim metrics add t\n"
        )


def test_show_asks_for_one_key(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.request-key"] = InTurn(
        {"result": ROWS[0], "ok": "0-3", "missing": ""},
        {"result": ROWS[0], "ok": "0-2", "missing": "3"},
        {"result": None, "ok": "0-3", "missing": ""},
    )
    assert "kvs     request_rx  4   12" in run("metrics", "show", "t", "module=kvs,type=request_rx").out
    assert fake.asked("metrics.request-key") == [
        {"name": "t", "key": {"module": "kvs", "type": "request_rx"}}
    ]
    partial = run("metrics", "show", "t", "k")
    assert (partial.code, partial.err) == (1, "t: missing 3\n")
    none = run("metrics", "show", "t", "k")
    assert (none.code, "no such key has been observed in this epoch" in none.err) == (1, True)


def test_list_shows_what_is_counted_and_how_well(fake: FakeBroker, run: Run) -> None:
    definition = {"name": "t", "reducers": [{"stream": "s", "apply": ["sum", "max"]}], "epoch": 0.0,
                  "threshold": {"value": "sum", "at": 5.0}}  # fmt: skip
    last = {**RECORD, "missing": "3"}
    listed = {"name": "t", "definition": definition, "hash": "h", "epoch": 2, "is_open": False, "last": last}
    fake.answers["metrics.list"] = {"stats": [listed, {**listed, "name": "u", "last": None}]}
    assert run("metrics", "list").out == (
        "Name  Streams    Break    Epochs  Rows  Ranks  Absent     Threshold\n"
        "t     s:sum,max  by hand       2     2      4  missing 3  sum>=5\n"
        "u     s:sum,max  by hand       2     -      -  -          sum>=5\n"
    )


def test_log_tells_each_epoch_in_a_line(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.log"] = {"records": [{**RECORD, "carried": 3, "restarted": "2"}], "rows": ROWS[:1]}
    out = run("metrics", "log", "t").out.splitlines()
    assert out[0].endswith("epoch 1  2 rows  4 ranks  2 ms  3 carried  restarted 2")
    assert out[1].startswith("Module  Type")
    crossing = {"name": "t", "key": {"str": "k"}, "value": 7.0, "level": 5.0}
    fake.answers["metrics.log"] = [{"crossed": crossing}, {"rows": ROWS[:1]}, {"record": RECORD}]
    out = run("metrics", "log", "-f", "t").out
    assert "  str=k: 7 has reached 5\n" in out
    fake.answers["metrics.log"] = [{"record": RECORD}]
    assert run("metrics", "log", "-f", "t", "--json").lines == [{"record": RECORD}]


def test_a_stat_without_an_epoch_behind_it_says_so(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.log"] = {"records": [], "rows": []}
    assert run("metrics", "log", "t") == (0, "", "t: no epoch has ended yet\n")


@pytest.mark.parametrize("value", ["nan", "-inf", "1e999"])
def test_what_is_written_like_a_number_and_is_none_is_a_usage_error(
    fake: FakeBroker, run: Run, value: str
) -> None:
    result = run("metrics", "observe", "s", "k", "--", value)
    assert (result.code, f"{value} is no finite number" in result.err) == (2, True)
    assert fake.topics == []


def test_observe_and_rm(fake: FakeBroker, run: Run) -> None:
    fake.answers["metrics.observe"] = InTurn(
        {"is_counted": True}, {"is_counted": False}, {"is_counted": True, "refused": ["t"]}
    )
    assert run("metrics", "observe", "s", "host=n1,port=80", "0.5", "-r", "2").err == ""
    assert fake.asked("metrics.observe") == [{"stream": "s", "key": {"host": "n1", "port": 80}, "value": 0.5}]
    assert fake.nodeids("metrics.observe") == [2]
    assert run("metrics", "observe", "s", "a").err == "no stat counts the stream s: the observation is gone\n"
    refused = run("metrics", "observe", "s", "a").err
    assert refused == "t refused it: the key or value is none that this stat can count\n"
    fake.answers["metrics.remove"] = InTurn(None, RequestError(ENOENT, "no stat 'u'; there are: t"))
    result = run("metrics", "rm", "t", "u")
    assert (result.code, result.err.splitlines()[0]) == (4, "error: no stat 'u'; there are: t (ENOENT)")


def test_keys_are_written_in_three_ways() -> None:
    assert words.key("plain") == "plain"
    assert words.key("a=1,b=x,c=2.5") == {"a": 1, "b": "x", "c": 2.5}
    assert words.key('{"a":null}') == {"a": None}
    for bad in ('{"a"', "a=1,b", "=x"):
        with pytest.raises(ValueError, match=r"not a key|no NAME=VALUE"):
            words.key(bad)
