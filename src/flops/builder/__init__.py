"""The builder: makes images from an ML repository."""
