"""Knows nothing itself: package ``flux.sdexec``, of which what maps a job's resources to systemd units is here."""
