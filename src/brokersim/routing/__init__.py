"""Floor 3: a message finds its way: ranks, links between them, endpoints that send and count, traces, the log."""
