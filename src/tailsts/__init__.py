"""TailSTS: trade a third-party OIDC token for a short-lived Tailscale API access token."""

__version__ = "0.1.0"
