"""Knows nothing itself: the names a module file gets that says ``import flux``; see brokersim.host.flux_import."""

from brokersim.fluxapi.core.handle import Flux

__all__ = ["Flux"]
