"""Any classifier by a few words: a trial, a checkpoint, plain weights, a factory, the model zoo."""
