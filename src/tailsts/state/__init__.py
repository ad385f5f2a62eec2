"""What workers and machines must agree on: tokens that were used, and how often somebody came."""
