"""Knows how to draw what tests of modules hand to an instance, with hypothesis; hands nothing over itself.

from brokersim.testing import run, strategies as bs

@settings(deadline=None)
@given(ops=st.lists(bs.kvs_ops(), min_size=1, max_size=5), rank=bs.ranks(2))
def test_a_commit_moves_the_root_or_is_refused(ops, rank):
    async def commit(broker):
        try:
            answer = await broker.rpc("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops}, rank)
        except RequestError:
            return  # such as an append to what is a directory
        assert answer["rootseq"] == 1
    run(commit, size=2)
"""

from __future__ import annotations

from hypothesis import strategies as st

from brokersim.protocol import jobspec, treeobj
from brokersim.protocol.decoded import JsonObject

__all__ = [
    "blobs",
    "faults",
    "jobspecs",
    "json_objects",
    "kvs_keys",
    "kvs_ops",
    "masks",
    "module_names",
    "ranks",
    "topics",
]  # fmt: skip

_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
#: Faults that hit messages and may do so in any test, with what they need besides.
_FAULTS: dict[str, st.SearchStrategy[JsonObject]] = {
    "drop": st.just({}),
    "duplicate": st.just({}),
    "reorder": st.just({}),
    "delay": st.fixed_dictionaries({"seconds": st.sampled_from([0.001, 0.1, 1.0])}),
    "fail": st.fixed_dictionaries({"errnum": st.sampled_from([5, 11, 28])}),
}


def module_names() -> st.SearchStrategy[str]:
    """Names a module may be loaded under."""
    return _WORD.filter(lambda name: not name.startswith("-"))


def topics(service: str | None = None) -> st.SearchStrategy[str]:
    """Topics of one or more words, under ``service`` if one is given."""
    rest = st.lists(_WORD, min_size=1, max_size=3).map(".".join)
    return rest if service is None else rest.map(lambda method: f"{service}.{method}")


def ranks(size: int) -> st.SearchStrategy[int]:
    """Ranks of an instance of that size."""
    return st.integers(0, size - 1)


def masks() -> st.SearchStrategy[int]:
    """Debug masks with and without the bit of message counters (0x1000)."""
    return st.sets(st.sampled_from([0x1000, 0x2000, 0x4000, 0x8000, 0x10000])).map(sum)


def json_objects(max_leaves: int = 10) -> st.SearchStrategy[JsonObject]:
    """Payloads as JSON has them."""
    scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | _TEXT
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
        max_leaves=max_leaves,
    )
    return st.dictionaries(_TEXT, values, max_size=5)


def blobs(max_size: int = 4096) -> st.SearchStrategy[bytes]:
    """What content.store takes."""
    return st.binary(max_size=max_size)


def kvs_keys(depth: int = 3) -> st.SearchStrategy[str]:
    """Keys from few words, so that they meet: ``a``, ``a.b``, ``b.c.a``."""
    return st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=depth).map(".".join)


def kvs_ops(max_size: int = 3000) -> st.SearchStrategy[JsonObject]:
    """Operations of kvs.commit: put, append, unlink, make a directory, link; small values and such as go to content."""
    values = st.binary(max_size=20) | st.binary(min_size=max_size // 2, max_size=max_size)
    put = values.map(lambda data: {"flags": 0, "dirent": treeobj.val(data)})
    append = values.map(lambda data: {"flags": 32, "dirent": treeobj.val(data)})
    unlink = st.just({"flags": 0, "dirent": None})
    mkdir = st.just({"flags": 0, "dirent": treeobj.directory({})})
    link = kvs_keys().map(lambda target: {"flags": 0, "dirent": treeobj.symlink(target)})
    return st.builds(lambda key, op: {"key": key, **op}, kvs_keys(), put | append | unlink | mkdir | link)


def jobspecs(max_slots: int = 4) -> st.SearchStrategy[JsonObject]:
    """Jobspecs of mock jobs that run up to a second and may ask for more cores than there are."""

    def build(slots: int, run_time: float) -> JsonObject:
        spec = jobspec.build(["true"], run_time=run_time)
        spec["resources"][0]["count"] = slots
        return spec

    return st.builds(build, st.integers(1, max_slots), st.sampled_from([0.0, 0.001, 0.1, 1.0]))


def faults(*kinds: str) -> st.SearchStrategy[tuple[str, JsonObject]]:
    """Kind and settings for ``broker.fault(kind, **settings)``: of messages, each hit with a chance that is drawn.

    Raises ValueError for a kind that is none of these.
    """
    unknown = [kind for kind in kinds if kind not in _FAULTS]
    if unknown:
        raise ValueError(f"no fault to draw: {unknown[0]!r}; there are {', '.join(_FAULTS)}")
    chance = st.sampled_from([0.1, 0.5, 1.0])
    drawn = [
        st.builds(lambda kind, more, p: (kind, {**more, "p": p}), st.just(kind), _FAULTS[kind], chance)
        for kind in kinds or _FAULTS
    ]
    return st.one_of(drawn)
