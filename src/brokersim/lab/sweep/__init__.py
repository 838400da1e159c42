"""How many combinations are run over the cores, and what is recommended of them."""
