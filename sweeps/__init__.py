"""Run many trials: the search space, the record, the controller, the backends."""
