"""Coverage-guided fuzzing of what meets strangers' bytes: one module for each target, with what must always hold."""
