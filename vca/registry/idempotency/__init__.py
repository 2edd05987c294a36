"""`Idempotency-Key` for operations of the platform, which are in no tenant."""
