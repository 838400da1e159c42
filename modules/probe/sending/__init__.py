"""From readings to sinks: series and their samples, queues with their bounds, spools, and who empties them."""
