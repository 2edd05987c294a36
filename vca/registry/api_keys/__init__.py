"""Keys of the platform and of tenants: made once, shown once, kept as keyed hashes."""
