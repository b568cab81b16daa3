"""The orchestrator that runs every instance as a container of one Docker Engine."""
