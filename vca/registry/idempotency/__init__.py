"""`Idempotency-Key` of the platform's own operations, which are in no tenant."""
