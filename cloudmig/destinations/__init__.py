"""What keeps copies: object stores, and the wrappers that retry, break and limit."""
