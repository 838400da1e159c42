"""Floor 6: sockets of an instance: the local connector and its client, module processes, ."""
