"""What must hold of both: no ticket is sold that is not there. Run by `pytest examples/explore/tickets_test.py`."""

from __future__ import annotations

from brokersim.explore.author import Author
from brokersim.testing.explore import explore


def sells(world: Author, name: str) -> None:
    """Clients buy, and never is more sold than there was."""
    world.may(f"{name}.buy")

    @world.always
    def stock(broker: object) -> None:
        left = broker.module(name).left  # type: ignore[attr-defined]
        assert left >= 0, f"{left} tickets are left"


@explore(examples=300, sizes=(1, 2), modules=["tickets_fixed.py"])
def test_no_more_is_sold_than_there_is(world: Author) -> None:
    sells(world, "tickets_fixed")


@explore(examples=300, sizes=(1, 2), modules=["tickets.py"])
def find_the_race(world: Author) -> None:
    """No test: it fails, as docs/explore.md shows."""
    sells(world, "tickets")
