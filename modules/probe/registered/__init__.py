"""Knows what a rank's module has of the registry: a configuration in layers, and records of what there is."""
