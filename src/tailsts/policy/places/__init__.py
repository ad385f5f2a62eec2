"""Where policies lie: a folder that is watched, or a git repository."""
