"""Regular expressions of policies: RE2, and what can be said of one without running it."""
