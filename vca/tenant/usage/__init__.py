"""What a tenant uses, and what it costs: a ledger of facts that are only ever added to.

Features above note facts in the transaction in which they come about (`ledger`), and ask `cap`
before a call begins. To add a kind: a line in `registry.usage.rating.KINDS`, its price in a new
version of the plans, and somebody who notes it.
"""
