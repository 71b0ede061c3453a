"""What every figure of `analysis` is held to, and an example input for each."""
