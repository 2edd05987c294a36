"""Sockets of carriers that hear and speak: text comes in, and goes out clause by clause."""

from vca.servers.relay.route import install

__all__ = ["install"]
