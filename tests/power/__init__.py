"""Power cuts: what a program wrote is written down by a preloaded library, and what a disk may hold of it is made."""
