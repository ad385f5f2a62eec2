"""Exchanges as OpenTelemetry traces."""
