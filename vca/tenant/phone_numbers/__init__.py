"""A tenant's numbers: what they do when they ring, and their registration at the carrier."""
