"""Knows the requests of the metrics service; what is counted, merged and cut is in the files beside this one."""
