"""The service: from sockets to the exchange and back."""
