"""Environments with valid and invalid settings."""

import base64

ENCRYPTION_KEY = base64.b64encode(bytes(32)).decode()
LONG_SECRET = "a-secret-of-this-test-alone-and-no-other"
REQUIRED = ("DATABASE_URL", "APP_ENV", "APP_NAME", "DEBUG", "SECRET_KEY")
VALID = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": LONG_SECRET,
}
PRODUCTION = {
    **VALID,
    "APP_ENV": "production",
    "API_KEY_PEPPERS": f"{LONG_SECRET}-pepper",
    "ENCRYPTION_KEYS": ENCRYPTION_KEY,
}
INVALID = {
    "DATABASE_URL": "mysql://localhost/vca",
    "APP_ENV": "prod",
    "DEBUG": "maybe",
    "SECRET_KEY": "short",
}
