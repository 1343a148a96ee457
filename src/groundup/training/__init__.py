"""One trainer, many objectives."""
