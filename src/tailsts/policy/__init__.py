"""Who may have what: trust policies, and the decision."""
