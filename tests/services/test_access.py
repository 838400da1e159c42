"""The table `access`: what it may hold, that a wrong one changes nothing, and how the local connector heeds it."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim import open_instance, run
from brokersim.net.options import StartError, StartOptions
from brokersim.net.serve import run_instance
from brokersim.services.access import Access

WRONG: dict[str, tuple[Any, str]] = {
    "no table": (True, "access is no table"),
    "an unknown key": ({"foo": 42}, "unknown key 'foo'"),
    "a flag that is none": ({"allow-guest-user": 1}, "allow-guest-user is true or false, not 1"),
    "roles that are none": ({"roles": []}, "roles is no table"),
    "an unknown role": ({"roles": {"operator": {}}}, "unknown role 'operator'"),
    "an unknown key of a role": ({"roles": {"admin": {"userz": []}}}, "role admin has users and groups"),
    "members that are no list": (
        {"roles": {"admin": {"users": "me"}}},
        "roles.admin.users is a list of names",
    ),
    "members that are no names": (
        {"roles": {"admin": {"users": [1]}}},
        "roles.admin.users is a list of names",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_table_that_is_none_is_refused_with_its_place(what):
    table, text = WRONG[what]
    with pytest.raises(ValueError) as caught:
        Access.of({"access": table})
    assert f"error updating connector-local: error parsing [access] configuration: {text}" in str(
        caught.value
    )


def test_nobody_else_is_let_in_unless_the_table_says_so():
    assert Access.of({}) == Access.of({"access": {"private-mode": True}}) == Access(guests=False, root=False)
    roles = {"admin": {"users": ["nobody"], "groups": []}}
    table = {"allow-guest-user": True, "allow-root-owner": True, "roles": roles}
    assert Access.of({"access": table}) == Access(guests=True, root=True)


@pytest.fixture
def uri(tmp_path, monkeypatch) -> Any:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return lambda text, **options: run_instance(
        StartOptions(command=("/bin/sh", "-c", text), modules=(), **options)
    )


def test_an_instance_does_not_start_with_a_table_that_is_none(uri):
    with pytest.raises(StartError, match="unknown key 'foo'"):
        uri("exit 0", conf={"access": {"foo": 1}})


async def _asked(instance: Any, conf: Any) -> str:
    client = instance.client()
    try:
        await client.call("config.load", conf)
    except Exception as error:
        return str(error)
    return ""


def test_a_wrong_table_leaves_the_configuration_as_it_was():
    async def main() -> Any:
        async with open_instance(modules=()) as instance:
            said = await _asked(instance, {"access": {"foo": 42}, "new": 1})
            return said, (await instance.client().call("config.get"))

    said, conf = run(main, clock="virtual")
    assert "unknown key 'foo'" in said and conf == {}
