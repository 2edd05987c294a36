"""Webhooks and events of one tenant.

Higher features call `events.emit` in the transaction of the change that they report. The delivery
mechanism is `vca.registry.webhooks`; this package has the tenant's tables, its job, and the list of
events.
"""
