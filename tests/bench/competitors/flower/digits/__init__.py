"""The base case of FLOps as a Flower app."""
