"""What the ML repository's own interpreter runs: Python 3.8 or later, the standard library and numpy only."""
