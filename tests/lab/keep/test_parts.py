"""What is done of a run is kept until the whole is: it goes on to the same bytes, and takes nothing of another."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from brokersim.lab import order as orders
from brokersim.lab.experiments.experiment import repeated
from brokersim.lab.experiments.registry import NAMES, experiment
from brokersim.lab.keep import kept
from brokersim.lab.keep.kept import read_kept
from brokersim.lab.keep.parts import PartFile, Parts, PartsError
from brokersim.lab.order import OrderError, Places, carry_out, order
from brokersim.lab.show.tables import key_columns

#: The smallest plan of each with two units; in real time nothing is the same twice.
SMALL: dict[str, dict[str, Any]] = {
    "watchers": {"jobs": 1, "hooks": ("none", "check"), "clock": "virtual"},
    "overhead": {"jobs": 1, "hooks": ("check",), "clock": "virtual"},
    "modules": {"jobs": 1},
    "decay": {"jobs": 2, "blocks": 2, "models": ("none", "linear")},
    "idle": {"seconds": 10.0, "background": 0.0, "hooks": ("check",)},
    "latency": {"jobs": 4},
    "states": {"jobs": 4, "tail": 2.0},
    "resolution": {"jobs": 2, "size": 1, "timers": (0.1, 0.2), "flushes": (0.5,)},
    "period": {"jobs": 4},
}


class Counted(Parts):
    """Notes which units were not there yet; with ``stop`` ^C comes as the unit of that number begins."""

    def __init__(
        self, file: PartFile | None, stop: int = -1, prefix: str = "", ran: list[str] | None = None
    ) -> None:
        super().__init__(file, prefix)
        self.ran: list[str] = [] if ran is None else ran
        self._of, self._at, self._stop = file, prefix, stop

    def within(self, name: str) -> Parts:
        return Counted(self._of, self._stop, f"{self._at}{name}/", self.ran)

    def keep(self, name: str, found: object) -> None:
        if len(self.ran) == self._stop:
            raise KeyboardInterrupt
        self.ran.append(self._at + name)
        super().keep(name, found)


def test_every_experiment_of_modelled_time_has_a_plan_here() -> None:
    # Real time is never the same twice, and rows of `intervals` are kept in the database itself (lab/sweep).
    assert SMALL.keys() == set(NAMES) - {"aggregator", "intervals"}


@pytest.mark.parametrize("name", SMALL)
def test_a_run_that_was_broken_off_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    one = experiment(name)
    plan = one.make_plan(SMALL[name])
    reps = 2 if name in ("modules", "period") else 1  # of one unit
    whole = Counted(None)
    expected = repeated(one, plan, reps, parts=whole)
    assert len(whole.ran) > 1
    with PartsOf(tmp_path / "run.db") as file, pytest.raises(KeyboardInterrupt):
        repeated(one, plan, reps, parts=Counted(file, stop=1))
    with PartsOf(tmp_path / "run.db") as file:
        assert file.before == 1
        rest = Counted(file)
        found = repeated(one, plan, reps, parts=rest)
    assert rest.ran == whole.ran[1:]
    assert json.dumps(found.to_json()) == json.dumps(expected.to_json())


class PartsOf:
    """A part file, open inside."""

    def __init__(self, database: Path, what: str = "w", command: str = "bench x") -> None:
        self._args = database, what, command

    def __enter__(self) -> PartFile:
        self.file = PartFile(*self._args)
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _order(database: Path, jobs: int = 4, command: str = "brokersim bench decay") -> orders.Order:
    fields = {"jobs": jobs, "blocks": 2, "models": ("none", "linear")}
    return order(experiment("decay"), fields, places=Places(database=database), command=command)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """^C as the second model of decay begins; with False no more."""
    from brokersim.lab.experiments import decay

    run = decay.run

    def interrupted(work: Any, plan: Any, model: str, **more: Any) -> Any:
        if model == "linear":
            raise KeyboardInterrupt
        return run(work, plan, model, **more)

    def choose(on: bool) -> None:
        monkeypatch.setattr(decay, "run", interrupted if on else run)

    choose(True)
    return choose


def test_an_order_keeps_its_parts_beside_the_database_until_it_is_whole(
    tmp_path: Path, interrupt: Callable[[bool], None]
) -> None:
    database = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        carry_out(_order(database))
    assert [path.name for path in tmp_path.iterdir()] == ["run.db.part"]
    interrupt(False)
    outcome = carry_out(_order(database))
    assert outcome.done_before == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
    carry_out(_order(tmp_path / "other.db"))
    assert read_kept(database) == read_kept(tmp_path / "other.db")


def test_parts_of_another_plan_are_refused_with_the_command_that_made_them(
    tmp_path: Path, interrupt: Callable[[bool], None]
) -> None:
    database = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        carry_out(_order(database, command="brokersim bench decay --jobs 4"))
    with pytest.raises(
        OrderError, match=r"of another run, brokersim bench decay --jobs 4: give that command"
    ):
        carry_out(_order(database, jobs=6, command="brokersim bench decay --jobs 6"))
    assert (tmp_path / "run.db.part").exists()


def test_parts_of_another_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: object
) -> None:
    database = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        carry_out(_order(database))
    monkeypatch.setattr(orders, "VERSION", "another")
    with pytest.raises(OrderError, match="the same command of another version"):
        carry_out(_order(database))


def test_a_run_of_which_nothing_is_done_leaves_nothing(tmp_path: Path) -> None:
    with PartsOf(tmp_path / "run.db") as file:
        assert file.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with PartsOf(tmp_path / "run.db") as file:
        file.write("a", 1)
        with pytest.raises(PartsError, match="another run is writing it"):
            PartFile(tmp_path / "run.db", "w", "bench x")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"no database at all, but long enough to be looked at",
            "file is not a database; it holds what is done",
        ),
        (None, "not a part of a run; move it away"),
    ],
)
def test_a_file_that_is_none_of_ours_stays_as_it_is(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "run.db.part"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(PartsError, match=told):
        PartFile(tmp_path / "run.db", "w", "bench x")
    assert path.read_bytes() == before


class Runs:
    """What a pickle of an attacker's would do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)

    target = ""


@attrs.frozen
class Foreign:
    x: int


@pytest.mark.parametrize("value", [Runs(), Foreign(1), json.JSONDecoder, key_columns, PartsError])
def test_what_somebody_wrote_into_it_runs_no_code(tmp_path: Path, value: Any) -> None:
    Runs.target = str(tmp_path / "made")
    with PartsOf(tmp_path / "run.db") as file:
        file._db.execute("INSERT INTO parts VALUES ('a', ?)", (pickle.dumps(value),))
        with pytest.raises(PartsError, match=r"a is damaged .*has no place in it"):
            file.read("a")
    assert not (tmp_path / "made").exists()


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "run.db"
    write = kept._write

    def broken(found: Any, path: Path) -> None:
        write(found, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "_write", broken)
    with pytest.raises(KeyboardInterrupt):
        carry_out(_order(database))
    assert not database.exists()
    monkeypatch.setattr(kept, "_write", write)
    assert carry_out(_order(database)).done_before == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


def test_two_units_of_one_name_are_a_mistake_of_ours(tmp_path: Path) -> None:
    with PartsOf(tmp_path / "run.db") as file:
        parts = Parts(file)
        assert [parts.within(name).once("a", lambda: 1) for name in ("x", "y")] == [1, 1]
        with pytest.raises(AssertionError, match="x/a"):
            parts.within("x").once("a", lambda: 2)
