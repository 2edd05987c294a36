"""Ids that sort by creation time."""

import secrets
from datetime import datetime
from uuid import UUID

_SUB_MS = 1 << 12


def uuid7(now: datetime) -> UUID:
    """Return a UUID of version 7: milliseconds, 12 bits of fraction, 62 random bits.

    Of two ids created at least a microsecond apart, the later one is greater.
    """
    millis, micros = divmod(now.microsecond, 1_000)
    millis += int(now.replace(microsecond=0).timestamp()) * 1_000
    fraction = micros * _SUB_MS // 1_000
    high = millis << 16 | 0x7000 | fraction
    return UUID(int=high << 64 | 0b10 << 62 | secrets.randbits(62))
