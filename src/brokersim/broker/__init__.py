"""Floor 3: ranks, routing, events, modules, counters and their instrumentation."""
