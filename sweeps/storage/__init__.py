"""Results that outlive their machine: a copy of a sweep's folder in an object store, kept up while the sweep runs."""
