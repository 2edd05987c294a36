"""API keys of the platform and of tenants; a key is shown once and stored as a keyed hash."""
