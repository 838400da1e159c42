"""Knows what a pool must be able to do for a scheduler, and the two ways in which a request for resources fails."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from brokersim.fluxapi.resource.ResourceSetImplementation import ResourceSetImplementation
from brokersim.protocol.decoded import JsonObject


class InsufficientResources(OSError):
    """Not now: what is asked for may be there when something was given back."""


class InfeasibleRequest(OSError):
    """Never: all there is would not be enough."""


class ResourcePoolImplementation(ResourceSetImplementation):
    """A set of resources that knows who has them and which are up."""

    #: A number that grows with each change.
    generation: int = 0

    def log(self, level: int, msg: str) -> None:
        """A scheduler puts its own in this place."""

    def _bump(self) -> None:
        self.generation += 1

    @property
    def name(self) -> str:
        """What people call such a pool."""
        return type(self).__name__

    @property
    def expiration(self) -> float:
        return self.get_expiration()

    @expiration.setter
    def expiration(self, value: float) -> None:
        self.set_expiration(value)

    @abstractmethod
    def mark_up(self, ids: str) -> None:
        """Ranks, or ``all``, may be used."""

    @abstractmethod
    def mark_down(self, ids: str) -> None:
        """Ranks, or ``all``, get no new jobs."""

    @abstractmethod
    def copy_down(self) -> Any:
        """The set of what is not up."""

    @abstractmethod
    def register_alloc(self, jobid: int, R: object) -> None:
        """A job has these already."""

    @abstractmethod
    def free(self, jobid: int, R: object = None, final: bool = False) -> None:
        """A job gives back some, or all."""

    @abstractmethod
    def update_expiration(self, jobid: int, expiration: float) -> None:
        """A job ends at another time than was thought."""

    @abstractmethod
    def job_end_times(self) -> list[tuple[int, float]]:
        """(job, end) of every job; 0 where it is not known."""

    @abstractmethod
    def parse_resource_request(self, jobspec: JsonObject) -> Any:
        """What a jobspec asks for, as ``alloc`` wants it."""

    @abstractmethod
    def alloc(self, jobid: int, request: object) -> Any:
        """Take what is asked for. Raises InsufficientResources, InfeasibleRequest."""

    @abstractmethod
    def check_feasibility(self, request: object) -> None:
        """Raises InfeasibleRequest if all there is would not be enough."""

    @abstractmethod
    def copy(self) -> Any:
        """Another pool in the same state."""

    @abstractmethod
    def copy_allocated(self) -> Any:
        """The set of what jobs have."""

    @abstractmethod
    def to_set(self) -> Any:
        """The set of all there is."""
