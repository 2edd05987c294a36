"""The HTTP edge: who may do what, the transaction of a request, errors, carriers, health.

Owns no table; imports every room below. Guards are enforced here as the features' routes declare
them; to add an operation touch nothing here.
"""
