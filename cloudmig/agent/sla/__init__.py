"""Service levels on site: what the functions measure, run from here, and the report of it."""
