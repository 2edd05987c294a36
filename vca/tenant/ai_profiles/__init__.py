"""AI profiles: how a tenant's agent behaves. Every change of content creates a new version."""
