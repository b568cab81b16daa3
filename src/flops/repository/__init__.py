"""What FLOps knows of an ML repository without running it: its address, its interface and its dependencies. Pure."""
