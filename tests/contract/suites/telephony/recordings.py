"""The contract tests of recordings."""

from collections.abc import Iterator

import pytest

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import new_call_id
from vca.telephony.adapter import (
    TelephonyAdapter,
    TelephonyError,
    limit_size,
)
from vca.telephony.types import (
    Recording,
)


class RecordingTests(ContractBase):
    """Tests of `fetch_recording` and `delete_recording`."""

    # fetch_recording, delete_recording

    def test_fetch_recording_returns_none_for_a_call_without_a_recording(
        self, adapter: TelephonyAdapter
    ) -> None:
        assert adapter.fetch_recording(new_call_id()) is None

    def test_a_recording_is_returned_completely_in_chunks(self, adapter: TelephonyAdapter) -> None:
        call, audio = new_call_id(), bytes(range(256)) * 12_000
        self.add_recording(adapter, call, audio)

        recording = adapter.fetch_recording(call)

        assert isinstance(recording, Recording)
        assert recording.content_type == "audio/wav"
        chunks = list(recording.chunks)
        assert b"".join(chunks) == audio
        assert max(map(len, chunks)) <= 1024 * 1024

    def test_a_recording_can_be_fetched_repeatedly(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        self.add_recording(adapter, call, b"RIFF of a call")
        first = adapter.fetch_recording(call)
        assert first is not None
        next(first.chunks)
        first.chunks.close()

        second_recording = adapter.fetch_recording(call)

        assert second_recording is not None
        assert b"".join(second_recording.chunks) == b"RIFF of a call"

    def test_delete_recording_deletes_only_the_recording_of_the_call(
        self, adapter: TelephonyAdapter
    ) -> None:
        call, other = new_call_id(), new_call_id()
        self.add_recording(adapter, call, b"one")
        self.add_recording(adapter, other, b"another")

        adapter.delete_recording(call)

        assert adapter.fetch_recording(call) is None
        assert adapter.fetch_recording(other) is not None

    def test_deleting_a_missing_recording_succeeds(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        self.add_recording(adapter, call, b"one")

        adapter.delete_recording(call)
        adapter.delete_recording(call)
        adapter.delete_recording(new_call_id())

    def test_a_recording_above_the_maximum_size_fails(self) -> None:
        chunks: list[bytes] = []
        closings: list[bool] = []

        def generate_chunks() -> Iterator[bytes]:
            try:
                while True:
                    yield b"12345"
            finally:
                closings.append(True)

        with pytest.raises(TelephonyError) as error_info:
            chunks.extend(limit_size(generate_chunks(), max_bytes=12))

        assert error_info.value.permanent
        assert (error_info.value.code, closings) == ("too-large", [True])
        assert list(limit_size([b"12345", b"6789"], max_bytes=9)) == [b"12345", b"6789"]
