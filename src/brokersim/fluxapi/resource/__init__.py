"""Knows nothing itself: package ``flux.resource``, of which the pool that schedulers use is here."""

from brokersim.fluxapi.resource.ResourcePool import ResourcePool
from brokersim.fluxapi.resource.ResourcePoolImplementation import InfeasibleRequest, InsufficientResources

__all__ = ["InfeasibleRequest", "InsufficientResources", "ResourcePool"]
