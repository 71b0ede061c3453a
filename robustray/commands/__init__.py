"""The command line of one model, a file for each command."""
