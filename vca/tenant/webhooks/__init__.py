"""What the tenant's own systems are told, and where.

`events.tell` is what the features above call, in the transaction of what happened. The machinery is
`vca.registry.webhooks`; here are the tenant's tables, its job, and the list of events.
"""
