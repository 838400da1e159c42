"""How results are shown: charts, pictures, pages, tables."""
