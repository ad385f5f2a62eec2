"""Audit events on their way to a receiver, through a spool on disk."""
