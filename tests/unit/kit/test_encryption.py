"""Values that are not encrypted ones cannot be decrypted, whatever they are."""

from uuid import UUID

import pytest

from vca.kit.encryption import DecryptionError, EncryptionContext, Keyring

CONTEXT = EncryptionContext(None, "webhooks", UUID(int=1), "secret")


@pytest.mark.parametrize("secret", ["", "s", "a-secret-of-a-webhook"])
def test_a_truncated_value_cannot_be_decrypted(secret: str) -> None:
    keyring = Keyring([bytes(32)])
    value = keyring.encrypt(secret, CONTEXT)

    for length in range(len(value)):
        with pytest.raises(DecryptionError):
            keyring.decrypt(value[:length], CONTEXT)
    assert keyring.decrypt(value, CONTEXT) == secret


def test_a_changed_value_cannot_be_decrypted() -> None:
    keyring = Keyring([bytes(32)])
    value = keyring.encrypt("secret", CONTEXT)

    for position in range(len(value)):
        changed = bytearray(value)
        changed[position] ^= 1
        with pytest.raises(DecryptionError):
            keyring.decrypt(bytes(changed), CONTEXT)
