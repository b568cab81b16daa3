"""The orchestrator that runs every instance as a service of a Docker Swarm."""
