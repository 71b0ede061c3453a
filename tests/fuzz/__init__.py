"""Readers of files that others may have damaged or made up: a clear error or a valid value, and nothing else."""
