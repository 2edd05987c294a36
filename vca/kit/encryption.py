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
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = len(_FORMAT) + _KEY_ID_BYTES + _NONCE_BYTES


class DecryptionError(ValueError):
    """None of our keys opens a value, or it was kept somewhere else."""


@dataclass(frozen=True)
class EncryptionContext:
    """Where a secret is kept. `tenant` None: in `public`."""

    tenant_id: UUID | None
    table: str
    row_id: UUID
    column: str

    @property
    def associated_data(self) -> bytes:
        owner = self.tenant_id.hex if self.tenant_id is not None else "public"
        return "|".join((owner, self.table, self.row_id.hex, self.column)).encode()


class Keyring:
    """The deployment's keys of 32 bytes each; shared by threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("there is no key")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current_key_id = _key_id(keys[0])

    def encrypt(self, plaintext: str, context: EncryptionContext) -> bytes:
        """The text under the first key, for this place alone; another value each time."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._current_key_id].encrypt(
            nonce, plaintext.encode(), context.associated_data
        )
        return _FORMAT + self._current_key_id + nonce + ciphertext

    def decrypt(self, value: bytes, context: EncryptionContext) -> str:
        """What was sealed for this place; raises CannotOpen."""
        cipher = self._ciphers.get(_key_id_of_value(value))
        if cipher is None:
            raise DecryptionError
        try:
            plaintext = cipher.decrypt(
                value[_HEADER_BYTES - _NONCE_BYTES : _HEADER_BYTES],
                value[_HEADER_BYTES:],
                context.associated_data,
            )
        except InvalidTag:
            raise DecryptionError from None
        return plaintext.decode()

    def has_key_for(self, value: bytes) -> bool:
        """Whether the value names one of these keys."""
        return _key_id_of_value(value) in self._ciphers

    @property
    def current_key_prefix(self) -> bytes:
        """What every value begins with that was sealed with the key that writes."""
        return _FORMAT + self._current_key_id

    def uses_current_key(self, value: bytes) -> bool:
        """Whether the value was sealed with the key that writes."""
        return _key_id_of_value(value) == self._current_key_id


_keyring: Keyring | None = None


def set_current_keyring(keyring: Keyring) -> None:
    """The keys of this process."""
    global _keyring
    _keyring = keyring


def current_keyring() -> Keyring:
    """The process's keys; raises LookupError before `use`."""
    if _keyring is None:
        raise LookupError("no keys are in use")
    return _keyring


def _key_id(key: bytes) -> bytes:
    """What a value calls its key: not the key, nor anything that helps to find it."""
    return hashlib.sha256(b"vca key name|" + key).digest()[:_KEY_ID_BYTES]


def _key_id_of_value(value: bytes) -> bytes:
    return value[len(_FORMAT) : len(_FORMAT) + _KEY_ID_BYTES] if value[:1] == _FORMAT else b""
