"""Knows nothing itself: package ``flux.job``, of which job ids are here."""

from brokersim.fluxapi.job.JobID import JobID, id_encode, id_parse

__all__ = ["JobID", "id_encode", "id_parse"]
