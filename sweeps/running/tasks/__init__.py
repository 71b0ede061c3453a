"""Jobs at work in a worker, a file for each kind of them."""
