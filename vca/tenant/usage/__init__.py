"""What a tenant uses and what it costs: an append-only ledger of facts.

Higher features record facts in the transaction in which they arise (`ledger`) and check `cap`
before a call begins. To add a kind of usage, add a line to `registry.usage.rating.KINDS`, its price
to a new version of the plans, and the code that records it.
"""
