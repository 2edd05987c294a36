"""Sockets of carriers that hear and speak: text comes in, and goes out clause by clause."""

from vca.serve.relay.route import install

__all__ = ["install"]
