"""What `python -m sweeps` does, one command each."""
