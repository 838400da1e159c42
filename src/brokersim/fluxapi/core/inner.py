"""Knows only that ``flux.core.inner`` is the binding of Flux's C library, which is not here."""

raise ImportError(
    "flux.core.inner is the binding of Flux's C library, which brokersim does not have; "
    "use the handle's methods, flux.constants and flux.kvs instead",
    name="flux.core.inner",
)
