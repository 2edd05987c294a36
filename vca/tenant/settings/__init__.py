"""What a tenant decides for all its numbers, and what is decided for it.

Its zone, hours and sentences; whom it may have dialled (`dialling`) and how much it may use
(`limits`), both of which higher features ask before they act.
"""
