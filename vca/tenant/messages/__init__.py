"""Messages that callers left for the tenant, taken by the agent or recorded as voicemail.

`service.create` is for the call features. `email_notifications` notifies the tenant.
"""
