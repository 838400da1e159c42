"""Knows sets of resources as Flux's Python code has them: ``a | b``, ``a - b``, counts, hosts; not how R is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from brokersim.fluxapi.hostlist import Hostlist
from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.resource.ResourceSetImplementation import ResourceSetImplementation
from brokersim.fluxapi.resource.Rv1Set import Rv1Set
from brokersim.protocol.decoded import JsonObject

_T = TypeVar("_T")


class _Answered(Generic[_T]):
    """An attribute of a set that its implementation is asked for, and told where it may be set."""

    def __init__(self, ask: str, tell: str = "") -> None:
        self._ask = ask
        self._tell = tell

    def __get__(self, rset: ResourceSet, owner: type) -> _T:
        value: _T = getattr(rset.impl, self._ask)()
        return value

    def __set__(self, rset: ResourceSet, value: _T) -> None:
        if not self._tell:
            raise AttributeError(f"{self._ask!r} of a ResourceSet cannot be set")
        getattr(rset.impl, self._tell)(value)


class ResourceSet:
    """Made from R as JSON text or object, an implementation, or nothing. Raises ValueError, KeyError, TypeError."""

    def __init__(self, arg: Any = None, version: int = 1, **kwargs: Any) -> None:
        #: What somebody calls these resources: ``up``.
        self.state: Any = None
        if isinstance(arg, str):
            arg = json.loads(arg)
        if isinstance(arg, ResourceSetImplementation):
            self.impl: Any = arg
            self.version = arg.version
            return
        if arg is not None and not isinstance(arg, Mapping):
            raise TypeError(f"ResourceSet cannot be instantiated from {type(arg)}")
        self.version = version if arg is None else arg["version"]
        if self.version != 1:
            raise ValueError(f"R version {self.version} not supported")
        self.impl = Rv1Set(arg, **kwargs)

    # -- as text

    def dumps(self) -> str:
        """``rank0/core[0-3]``."""
        text: str = self.impl.dumps()
        return text

    __str__ = dumps
    rlist = property(dumps)

    def encode(self) -> str:
        """R as JSON text."""
        text: str = self.impl.encode()
        return text

    def to_dict(self) -> JsonObject:
        """R."""
        R: JsonObject = self.impl.to_dict()
        return R

    # -- what is in it

    def count(self, name: str) -> int:
        """How many of a kind: ``core``, ``gpu``."""
        number: int = self.impl.count(name)
        return number

    nodelist = _Answered[Hostlist]("nodelist")
    ranks = _Answered[IDset]("ranks")
    nnodes = _Answered[int]("nnodes")
    #: When it begins and when it ends (s since the epoch), 0 for never.
    starttime = _Answered[float]("get_starttime", "set_starttime")
    expiration = _Answered[float]("get_expiration", "set_expiration")

    @property
    def ncores(self) -> int:
        return self.count("core")

    @property
    def ngpus(self) -> int:
        return self.count("gpu")

    @property
    def properties(self) -> str:
        """Names of properties, with commas."""
        return ",".join(json.loads(self.get_properties()))

    def get_properties(self) -> str:
        """Properties (RFC 20) as JSON text."""
        text: str = self.impl.get_properties()
        return text

    def host_ranks(self, hosts: object, ignore_nomatch: bool = False) -> list[int]:
        """Ranks of hosts, in their order. Raises FileNotFoundError that names hosts that are not there."""
        ranks = list(self.ranks)
        return [ranks[at] for at in self.nodelist.index(hosts, ignore_nomatch=ignore_nomatch)]

    # -- changes

    def append(self, *args: Any) -> ResourceSet:
        """Take others in."""
        for arg in args:
            self.impl.append(self._other(arg).impl)
        return self

    def add(self, *args: Any) -> ResourceSet:
        """Take in what is not here yet."""
        for arg in args:
            self.impl.add(self._other(arg).impl)
        return self

    def set_property(self, name: str, ranks: object = None) -> ResourceSet:
        """Ranks, or all, have a property from now on. Raises ValueError."""
        self.impl.set_property(name, ranks)
        return self

    def remove_ranks(self, ranks: object) -> ResourceSet:
        """Have these ranks no more."""
        self.impl.remove_ranks(IDset(ranks))
        return self

    # -- new sets

    def _other(self, arg: object) -> ResourceSet:
        return arg if isinstance(arg, ResourceSet) else ResourceSet(arg, version=self.version)

    def _made(self, impl: object) -> ResourceSet:
        new = ResourceSet(impl)
        new.state = self.state
        return new

    def copy(self) -> ResourceSet:
        return self._made(self.impl.copy())

    def copy_ranks(self, ranks: object) -> ResourceSet:
        return self._made(self.impl.copy_ranks(IDset(ranks)))

    def copy_constraint(self, constraint: object) -> ResourceSet:
        """Of the ranks that fit a constraint (RFC 31). Raises ValueError."""
        return ResourceSet(self.impl.copy_constraint(constraint))

    def union(self, *args: Any) -> ResourceSet:
        return self._folded("union", args)

    def diff(self, *args: Any) -> ResourceSet:
        return self._folded("diff", args)

    def intersect(self, *args: Any) -> ResourceSet:
        return self._folded("intersect", args)

    def _folded(self, name: str, args: tuple[Any, ...]) -> ResourceSet:
        impl = self.impl.copy()
        for arg in args:
            impl = getattr(impl, name)(self._other(arg).impl)
        return self._made(impl)

    __or__ = union
    __sub__ = diff
    __and__ = intersect
