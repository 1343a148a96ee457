"""The commands, one file a topic: options in, one call out."""
