"""What explains a search: which options mattered, what made each member, what repeats attain, how far cheap numbers hold."""
