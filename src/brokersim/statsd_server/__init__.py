"""Floor 6: the statsd server: sockets, streams, pages, outputs; the rules of statsd are floor 1's."""
