"""The HTTP layer: access, transactions, errors, OpenAPI, carriers' webhooks, health.

It owns no table and may import every package below. Guards are enforced here as the features'
routes declare them, so a new operation needs no change here.
"""
