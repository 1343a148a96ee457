"""Every architecture of the field as presets of one model kit."""
