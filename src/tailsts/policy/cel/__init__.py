"""Conditions in CEL, and what keeps them cheap."""
