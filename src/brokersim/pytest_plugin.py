"""Knows how tests get instances: fixtures, marker, options, who runs a coroutine, what a failure shows.

It works with pytest-trio, which then runs coroutine tests on our clock, and without it, when this plugin does.
What a test does with an instance is in `brokersim.testing`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokersim.reactor.clock import VirtualClock
    from brokersim.testing import Broker, Instances, Statsd, StatsSink, StatsUdp, TestOptions
    from brokersim.testing.fixtures import TestInstances

# brokersim (and with it trio) is imported when a test first wants it: every run of pytest loads this file.

_FIXTURES = ("broker", "instance", "stats_sink", "stats_udp", "virtual_clock")
#: What ``--brokersim-hook=all`` stands for.
_ALL_HOOKS = ("prepare", "check", "idle", "timer:1s")
_TRIO = "trio"
#: Parameters that options of ours add to a test.
_OURS = ("_brokersim_hook", "_brokersim_flux")
_INSTANCES: pytest.StashKey[TestInstances] = pytest.StashKey()
_REPORTS: pytest.StashKey[list[str]] = pytest.StashKey()
_CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()


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
    _check_options(config)


def _check_options(config: pytest.Config) -> None:
    """A wrong option is told once, before anything runs."""
    given = _given_options(config)
    if given.get("hook") == "all":
        del given["hook"]
    if not given:
        return
    from brokersim.testing import merged

    for name, value in given.items():
        try:
            merged({name: value})
        except (ValueError, TypeError) as error:
            raise pytest.UsageError(f"--brokersim-{name}: {error}") from None


def _given_options(config: pytest.Config) -> dict[str, Any]:
    values = {name: config.getoption(f"brokersim_{name}") for name in ("hook", "transport", "clock", "seed")}
    return {name: value for name, value in values.items() if value is not None}


def pytest_report_header(config: pytest.Config) -> list[str]:
    given = [f"{name}={value}" for name, value in _given_options(config).items()]
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
            if _is_async(item) and _has_trio(config) and not _is_given(item):
                # Ahead of the mark that pytest-trio's trio_mode adds: the first one says how a test is run.
                item.add_marker(pytest.mark.trio(run=functools.partial(_run_for_trio, item)), append=False)
            if _is_given(item):
                _allow_function_scope(item)


def _is_ours(item: pytest.Function) -> bool:
    # A conftest may have a fixture of the same name, which then is what its tests get.
    known = item._fixtureinfo.name2fixturedefs
    return any(known[name][-1].func.__module__ == __name__ for name in _FIXTURES if name in known)


def _is_given(item: pytest.Function) -> bool:
    return hasattr(item.obj, "hypothesis")


def _is_async(item: pytest.Function) -> bool:
    test = item.obj.hypothesis.inner_test if _is_given(item) else item.obj
    return inspect.iscoroutinefunction(getattr(test, "_brokersim_test", test))


def _has_trio(config: pytest.Config) -> bool:
    return bool(config.pluginmanager.hasplugin(_TRIO))


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


def _run_for_trio(
    item: pytest.Function, main: Callable[[], Any], *, clock: Any = None, instruments: Any = ()
) -> Any:
    """What pytest-trio runs our tests with: trio.run on the clock their instance needs."""
    __tracebackhide__ = True
    return _run(main, clock or _trio_clock(item), instruments)


def _run(main: Callable[[], Any], clock: Any, instruments: Any = ()) -> Any:
    """``trio.run``; one exception inside groups of one comes out as itself, so that pytest can show it."""
    __tracebackhide__ = True
    import trio

    try:
        return trio.run(main, clock=clock, instruments=instruments)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            raise
    raise error from None


def _trio_clock(item: pytest.Function) -> Any:
    from brokersim.testing import clock_for

    return clock_for(_options(item), _virtual_clock(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    if isinstance(item, pytest.Function) and _is_ours(item):
        if _is_async(item):
            _take_over(item)
        _wrap(item)
    return (yield)


def _take_over(item: pytest.Function) -> None:
    """Another plugin's way to run coroutines (pytest-asyncio's, in auto mode) is not for a test of ours: it needs trio.

    Such plugins make items of a class of their own, which wait for a coroutine where `_wrap` leaves a plain function.
    """
    if type(item).runtest is not pytest.Function.runtest:
        item.runtest = functools.partial(pytest.Function.runtest, item)  # type: ignore[method-assign]


def _wrap(item: pytest.Function) -> None:
    """Have the test followed by the verdict on its instances, and run it if nobody else does."""
    if _is_given(item):
        # One function may stand for several items (parametrize): each wraps the test itself.
        inner = item.obj.hypothesis.inner_test
        inner = getattr(inner, "_brokersim_test", inner)
        wrapped: Any = (
            _each_example(item, inner) if inspect.iscoroutinefunction(inner) else _judged_sync(item, inner)
        )
        wrapped._brokersim_test = inner
        wrapped._trio_test_runner_wrapped = True
        item.obj.hypothesis.inner_test = wrapped
    elif _is_async(item):
        judged = _judged(item, item.obj)
        item.obj = (
            judged if item.get_closest_marker(_TRIO) and _has_trio(item.config) else _run_alone(item, judged)
        )
    else:
        item.obj = _judged_sync(item, item.obj)


def _judged(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def judged(*args: Any, **named: Any) -> None:
        __tracebackhide__ = True
        with _reported(item):
            await test(*args, **named)
            for broker in _instances(item).opened:
                await broker.verify()

    return judged


def _judged_sync(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def judged(*args: Any, **named: Any) -> None:
        __tracebackhide__ = True
        with _reported(item):
            test(*args, **named)
            for broker in _instances(item).opened:
                broker.verify()

    return judged


@contextmanager
def _reported(item: pytest.Function) -> Iterator[None]:
    """When the test fails, keep what its instances looked like then: their end would bury it."""
    __tracebackhide__ = True
    try:
        yield
    except BaseException:
        item.stash[_REPORTS] = [broker.report() for broker in _instances(item).opened]
        raise


def _run_alone(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine test as a function: fixtures that are `_Opening` are opened inside trio, for each call anew."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        __tracebackhide__ = True

        async def main() -> None:
            __tracebackhide__ = True
            instances = _instances(item)
            instances.opened.clear()
            instances.sink.clear()  # of the example before, under @given
            async with AsyncExitStack() as stack:
                opened = {
                    name: await stack.enter_async_context(value.open())
                    if isinstance(value, _Opening)
                    else value
                    for name, value in named.items()
                }
                await test(*args, **opened)

        _run(main, _trio_clock(item))

    # Not a coroutine function any more, whatever functools.wraps copied.
    del run.__wrapped__
    return run


def _each_example(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    """Of ``@given``: every example gets a fresh instance, on a clock that starts at 0."""
    run = _run_alone(item, _judged(item, test))

    def example(*args: Any, **named: Any) -> None:
        __tracebackhide__ = True
        if _CLOCK in item.stash:
            del item.stash[_CLOCK]
        run(*args, **named)

    return example


# -- instances


class _Opening:
    """A fixture's instance, to be opened by whoever runs the test."""

    def __init__(self, item: pytest.Function) -> None:
        self._item = item

    def open(self) -> Any:
        return _open_flux(self._item) if _is_flux(self._item) else _instances(self._item).open()


@asynccontextmanager
async def _open_flux(item: pytest.Function) -> AsyncIterator[Any]:
    from brokersim.testing.real_flux import opened_flux

    async with opened_flux(_options(item)) as broker:
        yield _instances(item).add(broker)


def _instances(item: pytest.Function) -> TestInstances:
    """What there is once a test: its sink, and the instances that are open."""
    found = item.stash.get(_INSTANCES, None)
    if found is None:
        from brokersim.testing.fixtures import TestInstances

        found = item.stash[_INSTANCES] = TestInstances(
            options=functools.partial(_options, item),
            sink=_new_sink(item),
            snapshots=functools.partial(_snapshot, item),
        )
    return found


def _new_sink(item: pytest.Function) -> StatsSink:
    from brokersim.testing import StatsSink, StatsUdp

    return StatsUdp() if "stats_udp" in item.fixturenames else StatsSink()


def _options(item: pytest.Function, **more: Any) -> TestOptions:
    """Command line, then marker, then arguments. Raises pytest.UsageError that names the bad setting."""
    from brokersim.testing import merged

    config = item.config
    line = {**_given_options(config), "hook": _hook(item)}
    marked: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("brokersim"))):
        marked |= marker.kwargs
    if _is_flux(item):
        more["clock"] = "real"
    try:
        return merged({name: value for name, value in line.items() if value is not None} | marked, more)
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(f"{item.nodeid}: brokersim: {error}") from None


def _param(item: pytest.Function, name: str) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None or name not in callspec.params else str(callspec.params[name])


def _hook(item: pytest.Function) -> str | None:
    hook = item.config.getoption("brokersim_hook")
    return _param(item, "_brokersim_hook") or (None if hook == "all" else hook)


def _is_flux(item: pytest.Function) -> bool:
    """This is the run of the test that is against a real Flux."""
    return _param(item, "_brokersim_flux") == "flux"


def _virtual_clock(item: pytest.Function) -> VirtualClock:
    from brokersim.reactor.clock import VirtualClock

    return item.stash.setdefault(_CLOCK, VirtualClock())


def _snapshot(item: pytest.Function, name: str) -> Any:
    from brokersim.kit.snapshots import FileSnapshot, snapshot_file

    path = Path(item.path)
    return FileSnapshot(
        file=snapshot_file(path),
        test_file=path,
        test=_name_without_hook(item),
        name=name,
        update=item.config.getoption("brokersim_update"),
    )


def _name_without_hook(item: pytest.Function) -> str:
    """The name of a test, the same under every hook of ``--brokersim-hook=all``: its counters are."""
    ours = {value for name in _OURS if (value := _param(item, name)) is not None}
    if not ours:
        return item.name
    kept = [part for part in item.callspec.id.split("-") if part not in ours]
    return f"{item.originalname}[{'-'.join(kept)}]" if kept else item.originalname


# -- fixtures


@pytest.fixture
def _brokersim_hook(request: pytest.FixtureRequest) -> Any:
    """The hook ``--brokersim-hook=all`` runs the test under."""
    return getattr(request, "param", None)


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock the test's instance runs on: ``current_time()`` in seconds, 0 at the start."""
    return _virtual_clock(request.node)


@pytest.fixture
def _brokersim_flux(request: pytest.FixtureRequest) -> Any:
    """``flux`` where ``--brokersim-flux`` runs the test against a real one."""
    if getattr(request, "param", None) == "flux":
        if why := _no_flux():
            pytest.skip(f"NOT TESTED AGAINST FLUX: {why}")
        if not _is_async(request.node) or _is_given(request.node):
            pytest.skip("NOT TESTED AGAINST FLUX: only coroutine tests without @given are")
    return getattr(request, "param", None)


@pytest.fixture
def stats_sink(request: pytest.FixtureRequest) -> StatsSink:
    """What the test's instances send to statsd: ``packets``, ``lines``, ``metrics``, ``value``, ``await wait(...)``."""
    return _instances(request.node).sink


@pytest.fixture
def stats_udp(request: pytest.FixtureRequest) -> Iterator[StatsUdp]:
    """The same behind a real UDP socket on a free port of loopback: what it has went through the kernel."""
    from brokersim.testing import StatsUdp

    sink = _instances(request.node).sink
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
def instance(request: pytest.FixtureRequest, _brokersim_hook: Any) -> Instances:
    """A maker of instances: ``async with instance(size=4, hook="check") as broker``."""
    from brokersim.testing import Instances

    return Instances(_instances(request.node))


@pytest.fixture
def broker(request: pytest.FixtureRequest, _brokersim_hook: Any, _brokersim_flux: Any) -> Iterator[Any]:
    """An instance of one rank, in process, with the shipped modules, under the virtual clock; see the marker.

    The fixture's own client stays connected, so modules see no disconnect during the test; over a socket
    (``--brokersim-transport=unix``) there is one at its end.
    """
    item = request.node
    if not _is_async(item):
        with _opened_for_sync(item) as opened:
            yield opened
    elif _has_trio(item.config) and item.get_closest_marker(_TRIO) and not _is_given(item):
        yield _trio_fixture(item)
    else:
        yield _Opening(item)


@contextmanager
def _opened_for_sync(item: pytest.Function) -> Iterator[Any]:
    from brokersim.testing import opened_sync

    instances = _instances(item)
    with opened_sync(_options(item), instances.sink, _virtual_clock(item)) as opened:
        yield instances.add(opened)


def _trio_fixture(item: pytest.Function) -> Any:
    """A fixture value that pytest-trio opens inside trio, so that fixtures and tests may depend on it."""
    from pytest_trio.plugin import TrioFixture  # type: ignore[import-untyped]

    async def opening() -> AsyncIterator[Broker]:
        async with _Opening(item).open() as opened:
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
        for text in item.stash.get(_REPORTS, []):
            report.sections.append(("brokersim", text))
    return report
