"""The number registry: one row for each E.164 number of the whole deployment."""
