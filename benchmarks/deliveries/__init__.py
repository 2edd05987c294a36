"""The effect of a webhook receiver that never answers on the other receivers.

Ten tenants have a webhook that accepts deliveries. One of them has a second webhook, whose receiver
accepts connections and never answers. 100,000 deliveries are due at the second one; 100,000 more
are due at the first one of the same tenant within the next three days.

**Claim** = the transaction in which a job selects the next delivery of an endpoint, marks the
endpoint as busy and commits. **Record** = the transaction that stores the result and claims the
next delivery or schedules a job for it. Both are measured in a separate process without the
network.

**First attempt** = from the commit of an event to its receipt, with the product's own worker. The
events of the tenant with the unresponsive receiver are sent to that receiver as well.
"""
