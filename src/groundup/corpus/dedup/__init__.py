"""Duplicates: what a model would otherwise learn by heart because it stands there a thousand times."""
