"""Floor 5: workloads, experiments, and the figures they give."""
