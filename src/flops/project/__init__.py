"""How a project runs: pure state, commands and the workflow."""
