"""Slots that collide with nobody's: calendars against a model second by second, and measurements that share a disk."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim import open_instance, run
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.schedules import to_schedule, to_spec
from modules.probe.calendars import Calendars, Claim
from modules.probe.plan import to_measurement
from tests.modules.probe.harness import documents, lined


class Deaf:
    """A handle whose KVS nobody asks."""

    name = "probe"

    def request(self, *_args):
        pass


claims = st.lists(
    st.tuples(
        st.integers(1, 20), st.integers(1, 10), st.integers(1, 4),
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.1, 0.5, 1.0])), min_size=1, max_size=2,
                 unique_by=lambda use: use[0]),
        st.integers(0, 20), st.booleans(),
    ),
    max_size=8,
)  # fmt: skip


@given(claims)
def test_no_second_of_any_resource_is_used_more_than_wholly_and_slots_are_as_early_as_can_be(steps):
    calendars = Calendars(Deaf())
    used = {}  # (ref, second): {holder: usage}
    now = 0
    for number, (every, duration, count, uses, later, is_released) in enumerate(steps):
        now += later
        every = max(every, duration)
        claim = Claim(holder=str(number), every=every, duration=duration, count=count, resources=uses)
        found = calendars.reserve(claim, float(now))
        assert len(found) == count and all(end - start == duration for start, end in found)
        assert all(second[0] - first[0] >= every for first, second in pairwise(found))

        def is_free(second, uses=uses):
            return all(sum(used.get((ref, second), {}).values()) + usage <= 1 + 1e-9 for ref, usage in uses)

        least = now
        for start, end in found:
            assert start >= least
            assert all(is_free(second) for second in range(int(start), int(end)))
            earlier = range(least, int(start))
            assert not any(all(is_free(at + n) for n in range(duration)) for at in earlier)
            least = int(start) + every
        for start, end in found:
            for ref, usage in uses:
                for second in range(int(start), int(end)):
                    used.setdefault((ref, second), {})[str(number)] = usage
        if is_released:
            calendars.release(str(number))
            for holders in used.values():
                holders.pop(str(number), None)


def avoiding(every, duration, count, **more):
    params = {"every": every, "duration": duration, "count": count, "resources": [{"ref": "disk"}]}
    return lined(
        "dummy", {"type": "avoid", "params": params}, {"duration": duration * 0.9}, timeout=60, **more
    )


def test_measurements_of_many_ranks_never_run_at_once_and_go_on_reserving(tmp_path):
    async def main():
        async with open_instance(size=3, modules=["probe"]) as instance:
            for rank in range(3):
                client = instance.client(rank)
                path = {"lines": {"path": str(tmp_path / f"lines-{rank}")}}
                await client.call("probe.reload", {"config": {"sinks": path}})
                await client.call("probe.add", {"name": "m", "record": avoiding(10, 2, 3)})
            await instance.sleep(120)
            status = (await instance.client(1).call("probe.status"))["measurements"][0]
            await instance.client(1).call("probe.remove", {"name": "m"})
            claim = {"holder": "x", "every": 1, "duration": 0.5, "count": 1, "resources": [["disk", 1.0]]}
            with pytest.raises(RequestError, match="usage above 0"):
                await instance.client().call("probe.reserve", {**claim, "resources": [["disk", 5]]})
            return status

    assert run(main)["state"] == "WAIT"
    starts = []
    for rank in range(3):
        ticks = [one["ts"] for one in documents(tmp_path / f"lines-{rank}") if "value" in one]
        assert len(ticks) >= 10  # more than one reservation of three
        starts += ticks
    assert all(later - earlier >= 2 - 1e-6 for earlier, later in pairwise(sorted(starts)))


def test_what_is_given_back_or_ends_is_free_for_the_next_and_calendars_outlive_the_module():
    claim = {"holder": "0/x", "every": 100, "duration": 50, "count": 1, "resources": [["disk", 1.0]]}

    async def main():
        async with open_instance(modules=["content-cache", "content-sqlite", "kvs", "probe"]) as instance:
            client = instance.client()

            async def reserve(holder):
                answer = await client.call("probe.reserve", {**claim, "holder": holder})
                return answer["slots"][0][0]

            first, second = await reserve("0/x"), await reserve("0/y")
            await client.call("module.remove", {"name": "probe"})
            await instance.load("probe")
            third = await reserve("0/z")
            await client.call("probe.release", {"holder": "0/y"})
            return [round(at - first) for at in (second, third, await reserve("0/w"))]

    assert run(main) == [50, 100, 50]


def test_avoid_is_written_and_read_back_and_needs_what_it_avoids():
    spec = {
        "type": "avoid",
        "params": {"every": 10.0, "duration": 2.0, "resources": [{"ref": "a", "usage": 0.5}]},
    }
    assert to_spec(to_schedule(spec)) == spec
    assert (
        to_spec(to_schedule("avoid every=10s duration=2s resources=a,b"))["params"]["resources"][1]["ref"]
        == "b"
    )
    bare = {"type": "avoid", "params": {"every": 10, "duration": 2}}
    with pytest.raises(ValueError, match="needs resources"):
        to_measurement("m", {"probe": "dummy", "schedule": bare})
    found = to_measurement("m", {"probe": "dummy", "schedule": bare, "resources": [{"ref": "disk"}]})
    assert found.schedule.resources == (("disk", 1.0),)
    with pytest.raises(ValueError, match="jitter would move"):
        to_measurement("m", {"probe": "dummy", "schedule": bare, "resources": ["disk"], "jitter": 1})


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"count": 0}, "count must be a whole number, 1 or more"), ({"count": 1001}, "at most 1000"),
        ({"duration": 0}, "duration must be"), ({"resources": 5}, "must be a list"),
        ({"resources": [{"ref": ""}]}, "a resource"), ({"resources": [{"ref": "a", "usage": True}]}, "a resource"),
    ],
)  # fmt: skip
def test_what_is_no_reservation(params, says):
    with pytest.raises(ValueError, match=says):
        to_schedule({"type": "avoid", "params": {"every": 10, "duration": 2, "resources": ["a"], **params}})
