"""What a tenant decides for all its numbers: its zone and the sentences its callers hear."""
