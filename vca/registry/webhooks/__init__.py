"""Webhooks: send events to the URLs that are registered for them.

The code serves tenants' webhooks (`vca.tenant.webhooks`) and the platform's, whose tables are in
`public`. A `WebhookScope` says which tables are used, and how to open a transaction on them.
`endpoints` stores URLs and secrets, `delivery_worker` sends, `deliveries` lists and redelivers.
Requests follow Standard Webhooks and use `vca.kit.http`. To add an event type, add a line in
`event_types`.
"""
