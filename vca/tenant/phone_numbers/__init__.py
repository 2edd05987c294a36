"""A tenant's phone numbers: how their calls are handled, and their registration at the carrier."""
