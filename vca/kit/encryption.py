"""Encryption of secrets at rest: AES-256-GCM, bound to the row and column of the value.

A value that was moved to another tenant, table, row or column cannot be decrypted, because its
location is part of the authenticated data. New values are encrypted with the first key; all keys
decrypt. Each value contains the id of its key, so a key rotation can tell which values are left.
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
_TAG_BYTES = 16


class DecryptionError(ValueError):
    """No key of the keyring decrypts the value, or the value belongs to another location."""


@dataclass(frozen=True)
class EncryptionContext:
    """Where a secret is stored. `tenant_id` is None for the `public` schema."""

    tenant_id: UUID | None
    table: str
    row_id: UUID
    column: str

    @property
    def associated_data(self) -> bytes:
        """The context as bytes, which AES-GCM authenticates with the value."""
        owner = self.tenant_id.hex if self.tenant_id is not None else "public"
        return "|".join((owner, self.table, self.row_id.hex, self.column)).encode()


class Keyring:
    """The encryption keys of the deployment, 32 bytes each; thread-safe."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("the keyring needs at least one key")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current_key_id = _key_id(keys[0])

    def encrypt(self, plaintext: str, context: EncryptionContext) -> bytes:
        """Encrypt the text with the first key for this context; each call returns another value."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._current_key_id].encrypt(
            nonce, plaintext.encode(), context.associated_data
        )
        return _FORMAT + self._current_key_id + nonce + ciphertext

    def decrypt(self, value: bytes, context: EncryptionContext) -> str:
        """Return the plaintext of a value of this context; raises DecryptionError."""
        cipher = self._ciphers.get(_key_id_of_value(value))
        if cipher is None or len(value) < _HEADER_BYTES + _TAG_BYTES:
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

    @property
    def current_key_prefix(self) -> bytes:
        """The first bytes of every value that was encrypted with the current key."""
        return _FORMAT + self._current_key_id

    def uses_current_key(self, value: bytes) -> bool:
        """Return whether the value was encrypted with the current key."""
        return _key_id_of_value(value) == self._current_key_id


def _key_id(key: bytes) -> bytes:
    """Return the id of a key; it reveals nothing about the key."""
    return hashlib.sha256(b"vca key name|" + key).digest()[:_KEY_ID_BYTES]


def _key_id_of_value(value: bytes) -> bytes:
    return value[len(_FORMAT) : len(_FORMAT) + _KEY_ID_BYTES] if value[:1] == _FORMAT else b""
