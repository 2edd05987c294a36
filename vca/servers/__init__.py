"""Long-running servers beside the API. Wire adapter, flow and speech; own no table."""
