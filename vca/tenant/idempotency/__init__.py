"""`Idempotency-Key`: the stored response of a tenant's POST request, in the tenant's schema."""
