"""One technology each, behind the ports."""
