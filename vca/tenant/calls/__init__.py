"""A tenant's calls: how one is routed, held and ended, and the record that is kept of it.

`states` and `route` are pure; `flow` is all that a carrier's transport calls (begin, turn,
finish); `inbound` takes a carrier's request through it; `telephone` is the caller's side.
"""
