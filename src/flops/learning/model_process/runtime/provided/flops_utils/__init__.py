"""The interface between FLOps and the code of ML repositories."""
