"""Everything that is said to Tailscale."""
