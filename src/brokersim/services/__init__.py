"""Floor 5: what a broker answers itself, one file a service."""
