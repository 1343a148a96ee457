"""The steps of cleaning, a section each."""
