"""What ranks tell each other of a collection: sets of ranks, tallies, frames; what is remembered of them."""

from __future__ import annotations

import pytest

from modules.metrics import wire
from modules.metrics.wire import Frame, Tally, to_set, to_text


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("", set()), ("0", {0}), ("999999", {999_999}), ("0-2,5", {0, 1, 2, 5}), ("1,3", {1, 3})],
)
def test_a_set_of_ranks_is_read_as_it_is_written(text, ranks):
    for _ in range(2):  # of what was read and written before there is a note
        assert to_set(text) == ranks and to_text(to_set(text) or {0}) == (text or "0")


@pytest.mark.parametrize("text", ["1048576", "9999999", "x", "-1", "٣", "1-", "0-1048576"])
def test_what_is_no_set_of_ranks_an_instance_may_have_is_refused(text):
    with pytest.raises(ValueError, match="rank"):
        to_set(text)
    assert to_set("1048575") == {1_048_575}


def test_of_sets_that_were_read_and_written_small_ones_are_kept_and_not_too_many(monkeypatch):
    for name in ("_READ", "_WRITTEN"):
        monkeypatch.setattr(wire, name, {})
    monkeypatch.setattr(wire, "_READ_MAX", 2)
    monkeypatch.setattr(wire, "_KEPT_MAX", 3)

    def kept() -> tuple[list[str], list[str]]:
        return list(wire._READ), list(wire._WRITTEN.values())

    for text in ("0-3", "7"):  # one too large, one that is no work
        assert to_text(to_set(text)) == text and kept() == ([], [])
    for text in ("0-2", "4-5"):
        to_text(to_set(text))
    assert kept() == (["0-2", "4-5"], ["0-2", "4-5"])
    assert to_set("4-5") is wire._READ["4-5"]
    to_text(to_set("6-7"))
    assert kept() == (["6-7"], ["6-7"])


def test_a_tally_takes_in_those_below_and_says_only_what_there_is():
    whole = Tally()
    assert whole.to_dict() == {}
    whole.add(Tally(ok={1, 2}, cut=[5.0, 6.0], late=1))
    whole.add(Tally(ok={3}, missing={4}, truncated=[([5], "k")], cut=[2.0, 5.5], late=2, dup=1))
    told = whole.to_dict()
    assert told == {
        "ok": "1-3", "missing": "4", "truncated": [["5", "k"]], "cut": [2.0, 6.0], "late": 3, "dup": 1
    }  # fmt: skip
    assert Tally.from_dict(told) == whole
    whole.add(Tally())
    assert whole.to_dict() == told


@pytest.mark.parametrize("told", [{"ok": "x"}, {"truncated": [["0"]]}, {"cut": ["x"]}, {"late": "x"}])
def test_a_tally_that_is_none_is_refused(told):
    with pytest.raises(ValueError, match=r"."):
        Tally.from_dict(told)


def test_a_frame_says_of_itself_what_is_not_as_usual():
    plain = {"uid": "u", "rank": 3, "seq": 1, "rows": []}
    assert Frame("u", 3, 1, []).to_dict() == plain
    assert Frame("u", 3, 1, [], size=9).to_dict() == {**plain, "size": 9}
    assert Frame("u", 3, 1, [], tally={"ok": "1"}).to_dict() == plain
    assert Frame("u", 3, 1, [], done=True, tally={"ok": "1"}).to_dict() == {
        **plain,
        "done": True,
        "tally": {"ok": "1"},
    }
    assert Frame("u", 3, 1, [], refused=True).to_dict() == {**plain, "refused": True}
