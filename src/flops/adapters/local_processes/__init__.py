"""The orchestrator for one machine: a small daemon per ``FLOPS_HOME`` that runs every process of an installation."""
