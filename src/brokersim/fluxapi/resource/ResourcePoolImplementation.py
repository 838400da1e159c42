"""Knows the two ways in which a resource request fails, where Flux's schedulers look for them."""

from __future__ import annotations


class InsufficientResources(OSError):
    """Not now: what is asked for may be there when something was given back."""


class InfeasibleRequest(OSError):
    """Never: all there is would not be enough."""
