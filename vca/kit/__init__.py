"""Tools without product nouns: database, HTTP client, storage, web helpers, JSON, phone numbers."""
