"""Runs of an instance that nobody scripted: seeded plans of requests, faults and orders, judged, shrunk, replayed."""
