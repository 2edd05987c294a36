"""Secrets as they are kept: AES-256-GCM, bound to the one place where they belong.

A value that was moved, to another tenant, table, row or column, cannot be opened: the place goes
into the authenticated data. The first of the keys writes, all read; each value names its key, so
that a rotation knows what it has left to do.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = b"\x01"
_NAME_BYTES = 4
_NONCE_BYTES = 12
_HEAD = len(_FORMAT) + _NAME_BYTES + _NONCE_BYTES


class CannotOpen(ValueError):
    """None of our keys opens a value, or it was kept somewhere else."""


@dataclass(frozen=True)
class Place:
    """Where a secret is kept. `tenant` None: in `public`."""

    tenant: UUID | None
    table: str
    row: UUID
    column: str

    @property
    def bound(self) -> bytes:
        whose = self.tenant.hex if self.tenant is not None else "public"
        return "|".join((whose, self.table, self.row.hex, self.column)).encode()


class Keys:
    """The deployment's keys of 32 bytes each; shared by threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("there is no key")
        self._named = {_name(key): AESGCM(key) for key in keys}
        self._first = _name(keys[0])

    def seal(self, text: str, place: Place) -> bytes:
        """The text under the first key, for this place alone; another value each time."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._named[self._first].encrypt(nonce, text.encode(), place.bound)
        return _FORMAT + self._first + nonce + sealed

    def open(self, value: bytes, place: Place) -> str:
        """What was sealed for this place; raises CannotOpen."""
        key = self._named.get(_key_name(value))
        if key is None:
            raise CannotOpen
        try:
            opened = key.decrypt(value[_HEAD - _NONCE_BYTES : _HEAD], value[_HEAD:], place.bound)
        except InvalidTag:
            raise CannotOpen from None
        return opened.decode()

    def knows(self, value: bytes) -> bool:
        """Whether the value names one of these keys."""
        return _key_name(value) in self._named

    @property
    def mark(self) -> bytes:
        """What every value begins with that was sealed with the key that writes."""
        return _FORMAT + self._first

    def is_newest(self, value: bytes) -> bool:
        """Whether the value was sealed with the key that writes."""
        return _key_name(value) == self._first


_keys: Keys | None = None


def use(keys: Keys) -> None:
    """The keys of this process."""
    global _keys
    _keys = keys


def current() -> Keys:
    """The process's keys; raises LookupError before `use`."""
    if _keys is None:
        raise LookupError("no keys are in use")
    return _keys


def _name(key: bytes) -> bytes:
    """What a value calls its key: not the key, nor anything that helps to find it."""
    return hashlib.sha256(b"vca key name|" + key).digest()[:_NAME_BYTES]


def _key_name(value: bytes) -> bytes:
    return value[len(_FORMAT) : len(_FORMAT) + _NAME_BYTES] if value[:1] == _FORMAT else b""
