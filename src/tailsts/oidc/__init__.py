"""Who is asking: tokens, keys, and what makes the one believable by the other."""
