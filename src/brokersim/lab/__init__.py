"""Floor 7: the laboratory: load, experiments, measures, what is shown and kept of them."""
