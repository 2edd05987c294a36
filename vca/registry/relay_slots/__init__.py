"""Concurrency slots of voice WebSockets, counted over all processes."""
