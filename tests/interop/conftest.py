"""Tests beside programs of others, which `./dev test-interop` builds and names. Without them there is no test here."""

import os

OPA_VARIABLE = "TAILSTS_OPA"

collect_ignore_glob = [] if OPA_VARIABLE in os.environ else ["test_*.py"]
