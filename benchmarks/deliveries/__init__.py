"""What a dead receiver costs the others, with a hundred thousand deliveries waiting for it.

Ten tenants have a webhook that listens. One of them has another whose receiver takes connections
and never answers, with 100,000 deliveries due, and 100,000 more that are due some time in the next
three days at the one that listens.

**Claim** = the transaction in which a job finds the next delivery of an endpoint, marks the
endpoint as busy and commits; **note** = the one in which what came of it is kept, the next one
claimed or a job ordered for it. Both are measured in a process of its own, without the network.

**First attempt** = from the commit of an event to its receipt, with the product's own worker. The
events of the tenant with the dead receiver are told to that one as well.
"""
