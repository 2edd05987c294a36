"""A tenant's settings for all its numbers, and the limits that the platform sets.

The package has the time zone, opening hours and sentences, which numbers the tenant may dial
(`dialling`), and how much it may use (`limits`). Higher features check both before they act.
"""
