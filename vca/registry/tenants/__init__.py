"""Tenants: their status and plan, the creation of their schemas, and their lifecycle."""
