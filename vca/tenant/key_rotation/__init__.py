"""Re-encrypt every encrypted column of all tenants and of the platform with a new key."""
