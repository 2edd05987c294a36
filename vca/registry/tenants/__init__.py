"""Who exists: the tenants, their status and plan, and the creation of their schemas."""
