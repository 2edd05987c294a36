"""Who changed what of a tenant, and who read what was said: the table, and its list."""
