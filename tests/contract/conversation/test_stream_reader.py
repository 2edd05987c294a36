"""How the reader of a model's stream passes text on, and how it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer

import pytest

from tests.contract.suites.llm import make_request
from tests.fakes.models import (
    Answer,
    HangingModel,
    Step,
    StepModel,
    hanging_step,
)
from vca.conversation.llm import (
    ModelClient,
    ModelError,
    ModelRequest,
    Reasoning,
    ToolCall,
    cancellation,
)
from vca.conversation.llm.cancellation import Cancelled, CancelToken
from vca.conversation.stream_reader import StreamEnd, StreamItem, StreamReader

WAIT_S = 10.0
END_CALL = ToolCall("end_call", "{}")


@contextmanager
def open_reader(model: ModelClient) -> Iterator[StreamReader]:
    reader = StreamReader(model, make_request("Hello?"))
    try:
        yield reader
    finally:
        reader.close()


def read_items(model: ModelClient) -> tuple[list[StreamItem], StreamEnd]:
    """Return what the reader passes on, and the end."""
    items: list[StreamItem] = []
    with open_reader(model) as reader:
        while True:
            item = reader.next_item(WAIT_S)
            assert item is not None
            if isinstance(item, StreamEnd):
                return items, item
            items.append(item)


@pytest.mark.parametrize(
    ("steps", "items"),
    [
        # The first text is passed on at once, what follows together with the next mark.
        (["We", " open", " at", " nine", ".", " And"], ["We", " open at nine.", " And"]),
        # The text after a mark may complete a sentence, and is passed on at once.
        (["A.", " b", " c", " d,", " e", " f"], ["A.", " b", " c d,", " e", " f"]),
        (["We\n", "open", " at", " nine"], ["We\n", "open", " at nine"]),
        (["It", "’s", " Ada's", " turn"], ["It", "’s Ada's turn"]),
        # The latency is measured from the first text that can be spoken.
        ([" ", "\n", "We", " open", " now"], [" ", "\n", "We", " open now"]),
        (["'", "We", " open", " now"], ["'", "We", " open now"]),
        (["_", "We", " open", " now"], ["_", "We", " open now"]),
        (["(", "We", " open", " now"], ["(", "We", " open now"]),
        (["一", "二", "三", "。", "四", "五"], ["一", "二三。", "四", "五"]),
    ],
)
def test_text_is_passed_on_when_it_may_complete_something_that_can_be_spoken(
    steps: list[Step], items: list[StreamItem]
) -> None:
    assert read_items(StepModel(*steps)) == (items, StreamEnd())


def test_long_text_without_a_mark_is_passed_on() -> None:
    items, _ = read_items(StepModel("We", *[" word"] * 100))

    assert "".join(map(str, items)) == "We" + " word" * 100
    assert [len(str(item)) for item in items] == [2, 205, 205, 90]


@pytest.mark.parametrize("step", [END_CALL, Reasoning()], ids=["tool call", "reasoning"])
def test_text_before_another_chunk_is_passed_on_before_it(step: Step) -> None:
    items, _ = read_items(StepModel("We", " open", " now", step, " or", " later"))

    assert items == ["We", " open now", step, " or later"]


def test_text_before_an_error_is_passed_on_before_it() -> None:
    failure = ModelError("Away.", failure="unavailable")

    items, stream_end = read_items(StepModel("We", " open", " now", failure))

    assert (items, stream_end) == (["We", " open now"], StreamEnd(failure=failure))


def test_text_before_an_unexpected_error_is_passed_on_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)

    class BrokenModel(StepModel):
        def _stream(self, request: ModelRequest) -> Answer:
            yield from super()._stream(request)
            raise KeyError

    items, stream_end = read_items(BrokenModel("We", " open"))

    assert items == ["We", " open"]
    assert stream_end.failure is not None


def test_the_time_of_the_last_text_is_known_although_it_is_held() -> None:
    may_go_on, has_sent = Event(), Event()

    class Model(StepModel):
        def _stream(self, request: ModelRequest) -> Answer:
            summary = yield from super()._stream(request)
            has_sent.set()
            yield from self._run_step(hanging_step())
            return summary

    with open_reader(Model("We", may_go_on, " open")) as reader:
        assert reader.next_item(WAIT_S) == "We"
        first_at = reader.text_arrived_at
        may_go_on.set()
        assert has_sent.wait(WAIT_S)

        assert reader.text_arrived_at > first_at
        assert reader.next_item(0) is None


def test_white_space_is_no_text_that_arrived() -> None:
    may_go_on = Event()
    with open_reader(StepModel("We", may_go_on, " ", "\n", " \t")) as reader:
        assert reader.next_item(WAIT_S) == "We"
        first_at = reader.text_arrived_at
        may_go_on.set()
        while not isinstance(reader.next_item(WAIT_S), StreamEnd):
            pass

        assert reader.text_arrived_at == first_at


# --- Cancellation from outside ---


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_cancelled_consumer_stops_waiting_and_stops_the_model(moment: str) -> None:
    model, cancel_token = HangingModel(), CancelToken()
    if moment == "before":
        cancel_token.cancel()

    with cancellation.cancel_scope(cancel_token), open_reader(model) as reader:
        if moment == "during":
            Timer(0.02, cancel_token.cancel).start()
        with pytest.raises(Cancelled):
            reader.next_item(WAIT_S)

    assert model.closed_count == len(model.requests)


def test_a_closed_reader_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled_readers: list[StreamReader] = []
    monkeypatch.setattr(StreamReader, "_cancel", lambda reader: cancelled_readers.append(reader))
    cancel_token = CancelToken()

    with cancellation.cancel_scope(cancel_token), open_reader(StepModel("Nine.")) as reader:
        assert reader.next_item(WAIT_S) == "Nine."
    cancel_token.cancel()

    assert cancelled_readers == []
