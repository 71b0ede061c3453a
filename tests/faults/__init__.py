"""Real sweeps under faults, at random moments: `python -m tests.faults.campaign`."""
