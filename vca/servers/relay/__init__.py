"""Voice WebSockets of carriers: the caller's text comes in, the agent's goes out in chunks."""

from vca.servers.relay.route import install

__all__ = ["install"]
