"""A model's way out: weights and a program that need no code of ours, a card, an entry as RobustBench keeps them."""
