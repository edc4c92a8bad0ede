"""Where studies come from. Each source passes the suites of its ports in `tests/contract/`."""
