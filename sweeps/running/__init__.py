"""Where jobs come from and where they run."""
