"""What the aggregator holds by key: which keys there are, their values, and what timers have of an interval."""
