"""Places to run: each drives any queue with next, report and finish."""
