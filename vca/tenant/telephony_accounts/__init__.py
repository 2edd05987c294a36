"""A tenant's own carrier accounts: their encrypted credentials, and the adapters that use them."""
