"""A sweep's page while it runs: served on this machine alone, renewed as the record grows. Reads, and never writes."""
