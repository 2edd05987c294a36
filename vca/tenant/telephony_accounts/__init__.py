"""A tenant's own accounts with carriers: what they consist of, kept sealed, and what uses them."""
