"""Modules come, go and crash on a tree while requests fly: each is answered once, by whom the model says."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.instance import Instance
from brokersim.protocol.errnums import EHOSTUNREACH, ENOSYS
from tests.effort import examples
from tests.host.live import live, refused, write

SIZE, FANOUT = 4, 2
SOURCE = """
    held = None

    @request_handler("ask")
    def ask(self, msg):
        self.handle.respond(msg, {"rank": self.handle.rank})

    @request_handler("hold")
    def hold(self, msg):
        pass

    @request_handler("crash")
    def crash(self, msg):
        1/0
"""
_ranks = st.integers(0, SIZE - 1)
_steps = st.lists(
    st.tuples(st.sampled_from(["load", "remove", "crash", "ask", "ask", "hold"]), _ranks),
    min_size=1,
    max_size=25,
)


def server_of(loaded: set[int], rank: int) -> int | None:
    while True:
        if rank in loaded:
            return rank
        if rank == 0:
            return None
        rank = (rank - 1) // FANOUT


@given(_steps)
@settings(max_examples=examples(60))
def test_every_request_is_answered_once_by_the_nearest_living_module(tmp_path_factory, steps):
    path = write(tmp_path_factory.getbasetemp(), "svc", SOURCE)

    async def body(instance: Instance) -> None:
        loaded: set[int] = set()
        expected: list[tuple[int, int | None]] = []  # per request: errnum, rank
        waiting: dict[int, list[int]] = {rank: [] for rank in range(SIZE)}
        answers: dict[int, list[tuple[int, Any]]] = {}
        clients = [instance.client(rank) for rank in range(SIZE)]

        def note(response: Any, number: int) -> None:
            rank = None if response.errnum else response.payload["rank"]
            answers.setdefault(number, []).append((response.errnum, rank))

        def end(rank: int) -> None:
            loaded.discard(rank)
            for number in waiting[rank]:
                expected[number] = (EHOSTUNREACH, None)
            waiting[rank].clear()

        for step, rank in steps:
            if step == "load":
                if rank in loaded:
                    with refused(17):
                        await instance.load(path, rank=rank)
                else:
                    await instance.load(path, rank=rank)
                    loaded.add(rank)
            elif step == "remove":
                if rank in loaded:
                    await instance.remove("svc", rank=rank)
                    end(rank)
                else:
                    with refused(2):
                        await instance.remove("svc", rank=rank)
            else:
                number, server = len(expected), server_of(loaded, rank)
                clients[rank].request(f"svc.{step}", None, note, number)
                if server is None:
                    expected.append((ENOSYS, None))
                elif step == "ask":
                    expected.append((0, server))
                elif step == "hold":
                    expected.append((-1, None))
                    waiting[server].append(number)
                else:
                    expected.append((EHOSTUNREACH, None))
                await instance.sleep(0.01)
                if step == "crash" and server is not None:
                    end(server)
        await instance.sleep(1.0)
        for number, wanted in enumerate(expected):
            assert answers.get(number, []) == ([] if wanted[0] == -1 else [wanted]), (number, steps)
        assert [client.stray for client in clients] == [0] * SIZE
        assert {rank for rank in range(SIZE) if instance.modules(rank)} == loaded

    live(body, size=SIZE, fanout=FANOUT)
