"""What the admin port shows: numbers, readiness, and how they are put together."""
