"""Floor 2: the loop that drains messages and fires timers. Only `run.py` awaits trio."""
