"""`Idempotency-Key`: what a tenant's POST answered, kept with what it did."""
