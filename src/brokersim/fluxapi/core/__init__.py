"""Knows nothing itself: package ``flux.core``."""
