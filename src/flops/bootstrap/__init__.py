"""The wiring: the only place that chooses adapters.

``adapters`` turns settings into ports, ``roles`` gives each service process what it needs, ``installation`` starts and
stops what runs on this machine. ``python -m flops.bootstrap ROLE`` is what every service process runs.
"""
