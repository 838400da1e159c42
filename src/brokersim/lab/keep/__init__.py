"""How results are kept, read again, compared and exported."""
