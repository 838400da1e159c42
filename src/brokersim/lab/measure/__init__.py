"""Figures of a run: the truth beside what a store kept, prices, slots, series."""
