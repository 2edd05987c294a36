"""How a tenant's agent behaves; each change of what it says or does is a new version."""
