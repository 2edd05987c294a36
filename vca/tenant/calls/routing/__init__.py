"""Decide how a call to a number is answered: configuration, rules and the decision webhook."""
