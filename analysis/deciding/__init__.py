"""From a frontier to one model: which one to take and why, and whether it is good enough."""
