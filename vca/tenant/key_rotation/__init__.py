"""Secrets at rest under a new key: every encrypted column of every tenant, and of the platform."""
