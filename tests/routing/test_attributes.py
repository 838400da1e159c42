"""Attributes of a rank: which names there are, who may set them when, what they may be."""

from __future__ import annotations

import pytest

import brokersim
from brokersim.protocol.errnums import EINVAL, ENOENT, EPERM, RequestError
from brokersim.routing.attributes import (
    DEFAULTS,
    IMMUTABLE,
    OWN,
    Attributes,
    check_start,
    check_value,
    flags_of,
)


def refusal(call, *args: object) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        call(*args)
    assert caught.value.errno is not None
    return caught.value.errno, caught.value.text


def test_what_all_ranks_have_is_shared_until_one_changes_or_removes_its_own():
    common = {"log-stderr-level": "3", "test.a": "1"}
    one, other = Attributes(common), Attributes(common)
    one.set("log-stderr-level", "5")
    one.remove("test.a")
    assert (one.get("log-stderr-level"), other.get("log-stderr-level")) == ("5", "3")
    assert (one.get("test.a"), other.get("test.a")) == (None, "1")
    assert dict(one.items()) == {"log-stderr-level": "5"}
    one.remove("test.a")
    one.set("test.a", "back")
    assert one.get("test.a") == "back"


def test_an_unknown_name_is_refused_with_one_that_would_do():
    attributes = Attributes({})
    wanted = (ENOENT, "unknown attribute 'mine'; one of your own is named test.NAME")
    assert refusal(attributes.set, "mine", "3") == wanted
    assert refusal(check_start, "mine", "3") == (
        EINVAL,
        "attribute 'mine' is unknown; one of your own is named test.NAME",
    )


def test_the_flags_of_a_name_say_when_it_may_be_set():
    attributes = Attributes({"size": "4", "broker.rc1_path": "x"})
    attributes.fix("rank", "0")
    for name in ("rank", "size"):
        assert refusal(attributes.set, name, "7") == (EINVAL, f"attribute '{name}' may not be updated")
        assert refusal(attributes.set, name, "7", True) == (EPERM, f"attribute '{name}' is immutable")
        assert refusal(attributes.remove, name) == (EPERM, f"attribute '{name}' is immutable")
        assert attributes.flags(name) == IMMUTABLE
    assert attributes.fixed() == {"rank": "0", "size": "4"}
    assert refusal(attributes.set, "broker.rc1_path", "y") == (
        EINVAL,
        "attribute 'broker.rc1_path' may not be updated",
    )
    attributes.set("broker.rc1_path", "y", force=True)
    assert attributes.get("broker.rc1_path") == "y"
    attributes.set("test-im.x", "1")
    assert refusal(attributes.set, "test-im.x", "2", True)[0] == EPERM
    assert refusal(check_start, "rank", "1") == (EINVAL, "attribute 'rank' may not be set at the start")
    check_start("log-level", "6")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("log-ring-size", ("0", "8"), ("", "-1", "4xx", "1.5", "9" * 5000)),
        ("broker.exit-norestart", ("0", "255"), ("256", "x")),
        ("broker.exit-restart", ("0", "255"), ("256", "x")),
        ("log-syslog-enable", ("0", "1"), ("2", "", "true")),
        ("log-stderr-level", ("-1", "0", "7"), ("8", "-2", "5xx")),
        ("log-stderr-mode", ("leader", "local"), ("", "wrong")),
        ("log-filename", ("a.log",), ("",)),
        ("content.hash", ("sha1",), ("sha256",)),
        ("broker.shutdown-timeout", ("none", "1.5m", "0"), ("soon", "-1")),
        ("access.allow-guest-user", ("true", "false"), ("yes",)),
        ("test.anything", ("", "x"), ()),
    ],
)
def test_values_are_what_their_names_allow(name, good, bad):
    for value in good:
        check_value(name, value)
    for value in bad:
        errnum, text = refusal(check_value, name, value)
        assert (errnum, text.startswith(f"attribute '{name}' is '{value}'; it must be ")) == (EINVAL, True)
        with pytest.raises(RequestError):
            Attributes({}).set(name, value)


def test_every_default_is_a_value_its_name_allows():
    for name, value in DEFAULTS.items():
        check_value(name, value)
        assert flags_of(name) is not None


def test_what_ranks_differ_by_is_made_when_it_is_asked_for_and_is_all_that_a_rank_has_of_its_own():
    made = []

    def own():
        made.append(1)
        return {"rank": "3", "hostname": "sim3"}

    attributes = Attributes({"size": "4", "hostname": "everywhere"}, own)
    assert (attributes.get("size"), attributes.get("nosuch"), made) == ("4", None, [])
    assert (attributes.get("hostname"), attributes.get("rank"), made) == ("sim3", "3", [1])
    with pytest.raises(RequestError):
        attributes.set("rank", "4", force=True)
    assert made == [1]


def test_every_attribute_by_which_ranks_differ_is_known_to_be_one():
    async def main():
        async with brokersim.open_instance(size=3, modules=()) as instance:
            for rank in range(3):
                assert instance.own_attributes(rank).keys() <= OWN
                held = instance.broker(rank).attributes
                assert {
                    name: held.get(name) for name in instance.own_attributes(rank)
                } == instance.own_attributes(rank)

    brokersim.run(main)
