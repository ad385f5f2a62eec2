"""What pins a token of each issuer, and the policy and tests that say so. Pure."""
