"""The steps of a migration, in the order they happen. Sources and destinations only as ports."""
