"""Pages and files to clean, deduplicated documents. No torch in here."""
