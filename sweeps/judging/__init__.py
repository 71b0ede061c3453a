"""Which trial to judge with which attack next."""
