"""What callers left for the tenant: messages that the agent took, and voicemail.

`service.take` is what calls use, `mailing` tells the tenant.
"""
