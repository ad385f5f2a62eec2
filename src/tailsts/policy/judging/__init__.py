"""What a valid policy should be warned about."""
