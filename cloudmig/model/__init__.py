"""The nouns of cloudmig: pure values, no I/O, no clock."""
