"""The contract suite of model clients, in the order of `ModelClient`."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from vca.conversation import tools
from vca.conversation.llm import (
    MAX_ARGUMENTS_CHARS,
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelError,
    ModelRequest,
    Reasoning,
    ToolCall,
    ToolSpec,
)
from vca.conversation.types import Message, Profile, Role, Speaker, Tokens

ROLES: tuple[Role, ...] = ("receptionist", "sales", "support", "dispatcher", "custom")
ODD_TEXTS = (
    "\ud83d",
    "nul \x00 and bell \x07",
    "{braces} %s {0}",
    "🚑" * 50,
    "x" * 20_000,
    "مرحبا",
)


def make_request(
    *texts: str, profile: Profile | None = None, system: str = "Be kind."
) -> ModelRequest:
    """Return a request whose texts alternate between caller and agent and end with the caller's."""
    speakers: tuple[Speaker, ...] = ("caller", "agent") if len(texts) % 2 else ("agent", "caller")
    messages = tuple(Message(speakers[i % 2], text) for i, text in enumerate(texts))
    return ModelRequest(profile or Profile("Ada", "receptionist", "Be kind."), system, messages)


def read_stream(
    stream: AnswerStream,
) -> tuple[list[Chunk], Tokens | None]:
    """Return all chunks of a response, and its tokens."""
    chunks, summary = read_answer(stream)
    return chunks, summary.tokens


def read_answer(
    stream: AnswerStream,
) -> tuple[list[Chunk], AnswerSummary]:
    """Return all chunks of a response, and its summary."""
    chunks = [item for item in stream if not isinstance(item, Reasoning)]
    return chunks, stream.outcome


def read_text(stream: AnswerStream) -> str:
    """Return the text of a response."""
    return "".join(chunk for chunk in read_stream(stream)[0] if isinstance(chunk, str))


NOTE_TOOL = ToolSpec(
    "note_call",
    "Note the call.",
    {
        "type": "object",
        "properties": {"summary": {"type": "string"}, "outcome": {"type": "string"}},
        "required": ["summary", "outcome"],
    },
)
PROFILE_WITH_TOOLS = Profile(
    "Ada",
    "receptionist",
    "Be kind.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders and prices"},
)


class ModelContract:
    """Subclass it and provide `model`, and `assert_released` for clients with connections."""

    secret = "no-secret-at-all"

    @pytest.fixture
    def model(self) -> ModelClient:
        raise NotImplementedError

    def assert_released(self, model: ModelClient) -> None:
        """Fail if a closed stream still holds a connection."""

    def test_an_answer_is_streamed_in_non_empty_chunks(self, model: ModelClient) -> None:
        chunks, _ = read_stream(model.stream(make_request("Hello, my boiler is broken.")))

        assert len(chunks) > 1
        assert all(chunks)
        assert "".join(chunk for chunk in chunks if isinstance(chunk, str)).strip()

    @pytest.mark.parametrize("role", ROLES)
    def test_the_model_answers_for_every_role(self, model: ModelClient, role: Role) -> None:
        profile = Profile(role, role, "You are Bella.")

        assert read_text(model.stream(make_request("I need something.", profile=profile))).strip()

    @pytest.mark.parametrize("turns", [2, 3, 20, 21])
    def test_a_conversation_is_answered_whichever_speaker_started_it(
        self, model: ModelClient, turns: int
    ) -> None:
        texts = [f"This is line {number}." for number in range(turns)]

        assert read_text(model.stream(make_request(*texts))).strip()

    def test_a_stream_opens_no_connection_before_its_first_chunk_is_read(
        self, model: ModelClient
    ) -> None:
        model.stream(make_request("Hello?")).close()

        self.assert_released(model)

    def test_a_deterministic_client_gives_equal_answers_to_equal_requests(
        self, model: ModelClient
    ) -> None:
        request = make_request("How may I help you?", "I want to buy 40 chairs.")

        texts = {read_text(model.stream(request)) for _ in range(3)}

        assert not model.deterministic or len(texts) == 1

    def test_several_streams_can_be_read_concurrently(self, model: ModelClient) -> None:
        requests = [make_request(f"I am caller number {number}.") for number in range(8)]

        with ThreadPoolExecutor(8) as threads:
            texts = list(threads.map(lambda request: read_text(model.stream(request)), requests))

        assert all(text.strip() for text in texts)
        if model.deterministic:
            assert texts == [read_text(model.stream(request)) for request in requests]

    def test_closing_a_stream_early_releases_its_connection(self, model: ModelClient) -> None:
        with closing(model.stream(make_request("Tell me everything."))) as chunks:
            assert next(chunks)

        self.assert_released(model)

    def test_a_request_after_a_closed_stream_is_answered(self, model: ModelClient) -> None:
        with closing(model.stream(make_request("Tell me everything."))) as chunks:
            next(chunks)

        assert read_text(model.stream(make_request("And now?"))).strip()

    @pytest.mark.parametrize(
        "line", ["Hello?", "Put me through to sales.", "A person, please!", "Goodbye"]
    )
    def test_an_answer_with_tools_has_text_and_complete_tool_calls(
        self, model: ModelClient, line: str
    ) -> None:
        request = replace(
            make_request(line, profile=PROFILE_WITH_TOOLS),
            tools=tools.available_tools(PROFILE_WITH_TOOLS),
        )

        chunks, _ = read_stream(model.stream(request))

        assert chunks
        calls = [chunk for chunk in chunks if not isinstance(chunk, str)]
        assert all(isinstance(call, ToolCall) for call in calls)
        assert all(isinstance(call.name, str) for call in calls)
        assert all(len(call.arguments) <= MAX_ARGUMENTS_CHARS for call in calls)

    def test_the_model_calls_a_tool_that_must_be_called(self, model: ModelClient) -> None:
        request = make_request("The transcript:\nCaller: My boiler is broken.\nAgent: I see.")

        chunks, _ = read_stream(model.stream(replace(request, tools=(NOTE_TOOL,), must_call=True)))

        assert any(isinstance(chunk, ToolCall) for chunk in chunks)

    def test_an_answer_reports_its_tokens_or_none(self, model: ModelClient) -> None:
        _, tokens = read_stream(model.stream(make_request("Hello, my boiler is broken.")))

        assert tokens is None or (tokens.input >= 0 and tokens.output > 0)

    def test_a_client_has_a_name_and_says_whether_it_is_for_real_callers(
        self, model: ModelClient
    ) -> None:
        assert model.name not in ("", ModelClient.name)
        assert model.for_real_callers in (True, False)

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_odd_text_is_answered_or_refused_as_a_model_error(
        self, model: ModelClient, text: str
    ) -> None:
        profile = Profile(text, "custom", text)
        request = make_request(text, text, text, profile=profile, system=text)

        try:
            response_text = read_text(model.stream(request))
        except ModelError:
            return

        assert response_text.strip()

    def test_warm_up_can_be_repeated(self, model: ModelClient) -> None:
        model.warm_up()
        model.warm_up()

        assert read_text(model.stream(make_request("Hello?"))).strip()

    def test_close_can_be_repeated(self, model: ModelClient) -> None:
        list(model.stream(make_request("Hello?")))

        model.close()
        model.close()

        self.assert_released(model)

    def test_the_secret_of_a_client_is_not_in_its_repr(self, model: ModelClient) -> None:
        list(model.stream(make_request("Hello?")))

        assert self.secret not in repr(model)
        assert self.secret not in str(vars(type(model)))
