"""Imports the whole door for tests before any of them runs.

A run of pytest inside pytest takes out of sys.modules what was first imported in it, and a second copy of a class is
another class.
"""

from __future__ import annotations

import brokersim.testing
import brokersim.testing.real_flux

IMPORTED = [getattr(brokersim.testing, name) for name in brokersim.testing.__all__]
