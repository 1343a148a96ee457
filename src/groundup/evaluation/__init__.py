"""How good is it: bits per byte beside baselines, a quiz, samples."""
