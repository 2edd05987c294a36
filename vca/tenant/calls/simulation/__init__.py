"""Simulated calls through the fake carrier, replays of finished calls, and the terminal phone."""
