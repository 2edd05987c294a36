"""Carriers' requests: authentication, handling, voice WebSockets, voicemail and fallbacks."""
