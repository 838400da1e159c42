"""What is done with a real Flux on this machine, where there is one; nothing of it is needed by the rest."""
