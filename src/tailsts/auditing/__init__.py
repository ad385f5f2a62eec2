"""The audit log, read again: its lines as entries, which of them are asked for, and what they come to. Pure."""
