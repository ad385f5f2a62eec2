"""Stand-ins for the two neighbours of the service, to try it on one machine: an issuer, and Tailscale."""
