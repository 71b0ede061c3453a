"""Points that are made from trained trials, after training and before the frontier's members are fixed."""
