"""Long-running processes beside the API: the worker and the voice WebSockets. No tables."""
