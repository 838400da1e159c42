"""Knows how tests get instances: fixtures, marker, options, and what a failure shows.

It works with pytest-trio, which then runs coroutine tests on our clock, and without it, when this plugin does.
How a test is run is in `running.py`, what its instances are in `asked.py`, what it does with them in `testing/`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from brokersim.pytest_plugin import asked, running

if TYPE_CHECKING:
    from brokersim.reactor.clock import VirtualClock
    from brokersim.testing import Broker, Instances, Statsd, StatsSink, StatsUdp

# brokersim (and with it trio) is imported when a test first wants it: every run of pytest loads this file.

_FIXTURES = ("broker", "instance", "stats_sink", "stats_udp", "virtual_clock")
#: What ``--brokersim-hook=all`` stands for.
_ALL_HOOKS = ("prepare", "check", "idle", "timer:1s")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("brokersim", "instances of brokersim in tests")
    group.addoption(
        "--brokersim-hook",
        metavar="KIND",
        help="hook of the counters: prepare, check, idle or timer:FSD; all runs a test under each",
    )
    group.addoption(
        "--brokersim-transport",
        metavar="KIND",
        help="how a test asks: memory, or unix (also: socket)  [memory]",
    )
    group.addoption("--brokersim-clock", metavar="KIND", help="virtual, real or real*N  [virtual]")
    group.addoption("--brokersim-seed", metavar="N", type=int, help="seed of every instance  [0]")
    group.addoption("--brokersim-update", action="store_true", help="rewrite the counters kept in files")
    group.addoption(
        "--brokersim-flux",
        action="store_true",
        help="run tests marked brokersim(flux=True) against a real Flux as well",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "brokersim(size, modules, hook, mask, seed, clock, laws, ...): settings of the test's instance; laws maps the"
        " name of a law to the reason why it cannot hold (docs/testing.md)",
    )
    asked.check_options(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    given = [f"{name}={value}" for name, value in asked.given_options(config).items()]
    return [f"brokersim: {' '.join(given)}"] if given else []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    # Skips are silent by default, and this one means that what was asked for was not done.
    if config.getoption("brokersim_flux") and (why := _no_flux()):
        terminalreporter.write_sep("=", "NOT TESTED AGAINST FLUX", yellow=True, bold=True)
        terminalreporter.write_line(
            f"--brokersim-flux: {why}; tests marked flux=True ran against brokersim only"
        )


def _no_flux() -> str:
    from brokersim.testing.real_flux import missing

    return missing()


# -- which tests are ours, and how they are run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    hook = metafunc.config.getoption("brokersim_hook")
    marked = metafunc.definition.get_closest_marker("brokersim")
    if (
        hook == "all"
        and "_brokersim_hook" in metafunc.fixturenames
        and not (marked and "hook" in marked.kwargs)
    ):
        metafunc.parametrize("_brokersim_hook", _ALL_HOOKS, indirect=True)
    if (
        metafunc.config.getoption("brokersim_flux")
        and "_brokersim_flux" in metafunc.fixturenames
        and marked is not None
        and marked.kwargs.get("flux")
    ):
        metafunc.parametrize("_brokersim_flux", ("brokersim", "flux"), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _is_ours(item):
            if running.is_async(item) and running.has_trio(config) and not running.is_given(item):
                # Ahead of the mark that pytest-trio's trio_mode adds: the first one says how a test is run.
                item.add_marker(
                    pytest.mark.trio(run=functools.partial(running.run_for_trio, item)), append=False
                )
            if running.is_given(item):
                _allow_function_scope(item)


def _is_ours(item: pytest.Function) -> bool:
    # A conftest may have a fixture of the same name, which then is what its tests get.
    known = item._fixtureinfo.name2fixturedefs
    return any(known[name][-1].func.__module__ == __name__ for name in _FIXTURES if name in known)


def _allow_function_scope(item: pytest.Function) -> None:
    """hypothesis refuses function-scoped fixtures under ``@given``; ours are made for it.

    Its default deadline goes too: an example is a whole instance, the first one imports the modules.
    """
    from hypothesis import HealthCheck, settings

    test = getattr(item.obj, "__func__", item.obj)
    if not _foreign_fixtures(item) and hasattr(test, "_hypothesis_internal_use_settings"):
        given = test._hypothesis_internal_use_settings
        suppressed = {*given.suppress_health_check, HealthCheck.function_scoped_fixture}
        usual = settings().deadline
        deadline = None if given.deadline == usual else given.deadline
        test._hypothesis_internal_use_settings = settings(
            given, suppress_health_check=list(suppressed), deadline=deadline
        )


def _foreign_fixtures(item: pytest.Function) -> list[str]:
    """Fixtures made anew for each test, but not for each example, that are not of ours: those hypothesis warns of."""
    # Parameters of `parametrize` pass for fixtures, too.
    given = getattr(item, "callspec", None)
    asked = set(item._fixtureinfo.argnames).difference(() if given is None else given.params)
    known = item._fixtureinfo.name2fixturedefs
    found = [known[name][-1] for name in sorted(asked) if name in known]
    return [one.argname for one in found if one.scope == "function" and one.func.__module__ != __name__]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    if isinstance(item, pytest.Function) and _is_ours(item):
        if running.is_async(item):
            running.take_over(item)
        running.wrap(item)
    return (yield)


# -- fixtures


@pytest.fixture
def _brokersim_hook(request: pytest.FixtureRequest) -> Any:
    """The hook ``--brokersim-hook=all`` runs the test under."""
    return getattr(request, "param", None)


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock the test's instance runs on: ``current_time()`` in seconds, 0 at the start."""
    return asked.virtual_clock(request.node)


@pytest.fixture
def _brokersim_flux(request: pytest.FixtureRequest) -> Any:
    """``flux`` where ``--brokersim-flux`` runs the test against a real one."""
    if getattr(request, "param", None) == "flux":
        if why := _no_flux():
            pytest.skip(f"NOT TESTED AGAINST FLUX: {why}")
        if not running.is_async(request.node) or running.is_given(request.node):
            pytest.skip("NOT TESTED AGAINST FLUX: only coroutine tests without @given are")
    return getattr(request, "param", None)


@pytest.fixture
def stats_sink(request: pytest.FixtureRequest) -> StatsSink:
    """What the test's instances send to statsd: ``packets``, ``lines``, ``metrics``, ``value``, ``await wait(...)``."""
    return asked.instances(request.node).sink


@pytest.fixture
def stats_udp(request: pytest.FixtureRequest) -> Iterator[StatsUdp]:
    """The same behind a real UDP socket on a free port of loopback: what it has went through the kernel."""
    from brokersim.testing import StatsUdp

    sink = asked.instances(request.node).sink
    assert isinstance(sink, StatsUdp)
    yield sink
    sink.shut()


@pytest.fixture
def statsd_server() -> Iterator[Callable[..., Statsd]]:
    """A maker of statsd servers for any program: ``statsd_server("brubeck")`` reads its packets as brubeck would.

    See `brokersim.testing.Statsd`; they end with the test.
    """
    from brokersim.testing import Statsd

    with ExitStack() as opened:
        yield lambda dialect="etsy", **options: opened.enter_context(Statsd(dialect, **options))


@pytest.fixture
def instance(request: pytest.FixtureRequest, _brokersim_hook: object) -> Instances:
    """A maker of instances: ``async with instance(size=4, hook="check") as broker``."""
    from brokersim.testing import Instances

    return Instances(asked.instances(request.node))


@pytest.fixture
def broker(request: pytest.FixtureRequest, _brokersim_hook: object, _brokersim_flux: object) -> Iterator[Any]:
    """An instance of one rank, in process, with the shipped modules, under the virtual clock; see the marker.

    The fixture's own client stays connected, so modules see no disconnect during the test; over a socket
    (``--brokersim-transport=unix``) there is one at its end.
    """
    item = request.node
    if not running.is_async(item):
        with _opened_for_sync(item) as opened:
            yield opened
    elif (
        running.has_trio(item.config) and item.get_closest_marker(running.TRIO) and not running.is_given(item)
    ):
        yield _trio_fixture(item)
    else:
        yield running.Opening(item)


@contextmanager
def _opened_for_sync(item: pytest.Function) -> Iterator[Any]:
    from brokersim.testing import opened_sync

    instances = asked.instances(item)
    with opened_sync(asked.options(item), instances.sink, asked.virtual_clock(item)) as opened:
        yield instances.add(opened)


def _trio_fixture(item: pytest.Function) -> Any:
    """A fixture value that pytest-trio opens inside trio, so that fixtures and tests may depend on it."""
    from pytest_trio.plugin import TrioFixture  # type: ignore[import-untyped]

    async def opening() -> AsyncIterator[Broker]:
        async with running.Opening(item).open() as opened:
            yield opened

    return TrioFixture("<fixture 'broker'>", opening, {})


# -- what a failure shows


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    from brokersim.kit.deltas import Deltas, table

    found = left if isinstance(left, Deltas) else right if isinstance(right, Deltas) else None
    if found is None or not found.differences:
        return None
    return ["counter deltas differ:", *table(found.differences)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for text in item.stash.get(running.REPORTS, []):
            report.sections.append(("brokersim", text))
    return report
