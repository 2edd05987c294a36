"""Webhooks: what happened, told to whoever registered a URL for it.

The one machinery of tenants' endpoints (`vca.tenant.webhooks`) and of the operator's, whose tables
are in `public`: a `Box` says which tables are meant and how a transaction is opened on them.
`endpoints` keeps URLs and secrets, `delivering` sends, `deliveries` lists and sends again. Sent is
by Standard Webhooks, over `vca.kit.http`. A new type of event is a line in `event_types`.
"""
