"""Knows nothing itself: package ``flux.resource``, what schedulers and sets of resources need of it."""

from brokersim.fluxapi.resource.ResourceCount import ResourceCount
from brokersim.fluxapi.resource.ResourcePool import ResourcePool
from brokersim.fluxapi.resource.ResourcePoolImplementation import InfeasibleRequest, InsufficientResources
from brokersim.fluxapi.resource.ResourceSet import ResourceSet
from brokersim.fluxapi.resource.Rv1Pool import Rv1Pool
from brokersim.fluxapi.resource.Rv1Set import Rv1Set

__all__ = [
    "InfeasibleRequest",
    "InsufficientResources",
    "ResourceCount",
    "ResourcePool",
    "ResourceSet",
    "Rv1Pool",
    "Rv1Set",
]
