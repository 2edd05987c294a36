"""The fake carrier, for terminals, simulations and tests."""
