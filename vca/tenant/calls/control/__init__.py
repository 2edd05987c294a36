"""Place outbound calls, act on live calls, and reconcile live calls with their carriers."""
