"""The parts that families share: norm, position, attention, feed-forward, block, initialisation."""
