"""A tenant's audit log: who changed what, and who read the content of calls."""
