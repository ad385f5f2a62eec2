"""Several processes that look like one."""
