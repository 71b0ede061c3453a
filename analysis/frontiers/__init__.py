"""Sweeps beside each other: their frontiers, how much each attains and at what cost, and what tells them apart."""
