"""Exchanges that must pass and exchanges that must fail, tried at a live server."""
