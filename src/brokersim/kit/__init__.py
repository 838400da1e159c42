"""The regression kit below its doors: what was counted, what must hold, what goes wrong on purpose. No pytest."""
