"""Tools for a recorded stream: its records and intervals, replayed, explained, judged.

Knows nothing of files or of real time.
"""
