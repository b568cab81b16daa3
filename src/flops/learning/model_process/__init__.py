"""The ML repository's code in a process and an environment of its own (DESIGN.md section 7)."""
