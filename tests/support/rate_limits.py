"""Rate limits that no test exceeds by accident."""

HIGH_RATE_LIMITS = {
    "RATE_LIMIT_KEY": "100000",
    "RATE_LIMIT_TENANT": "100000",
    "RATE_LIMIT_PLATFORM_KEY": "100000",
    "RATE_LIMIT_FAILURES": "1000000",
}
