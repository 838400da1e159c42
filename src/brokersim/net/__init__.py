"""Floor 4: sockets. The local connector and its client, statsd over UDP."""
