"""What the agent says in one turn, as it comes to be said."""

from collections.abc import Iterable, Iterator

from vca.conversation import speech_text


class ReplyText:
    """The clauses of one answer, together within `spoken.MAX_CHARS`."""

    def __init__(self) -> None:
        self._chunker = speech_text.SentenceChunker()
        self._spoken_chunks: list[str] = []
        self._chars_left = speech_text.MAX_CHARS
        self.has_model_text = False
        """Whether a model's words are in it, and not only ours."""
        self.is_full = False

    @property
    def text(self) -> str:
        """All that was said."""
        return speech_text.join_chunks(self._spoken_chunks)

    def add_chunk(self, chunk: str) -> Iterator[str]:
        """The clauses that can be said now that a model's piece is there."""
        yield from self._fit(self._chunker.add_chunk(chunk))

    def finish(self, *, truncated: bool) -> Iterator[str]:
        """The last clause; of an answer that broke off, only if it is whole."""
        yield from self._fit(self._chunker.finish(truncated=truncated))

    def discard_pending(self) -> None:
        """Another model answers: what the first had not finished is not said."""
        self._chunker = speech_text.SentenceChunker()

    def add_phrase(self, phrase: str) -> str:
        """A sentence of our own, to be said at once."""
        self._spoken_chunks.append(phrase)
        return phrase

    def _fit(self, spoken_chunks: Iterable[str]) -> Iterator[str]:
        for spoken_chunk in spoken_chunks:
            if self.is_full:
                return
            if len(spoken_chunk) > self._chars_left:
                self.is_full = True
                if self.has_model_text:
                    return
                spoken_chunk = next(speech_text.limit_chunks([spoken_chunk]))
            self._chars_left -= len(spoken_chunk) + 1
            self.has_model_text = True
            self._spoken_chunks.append(spoken_chunk)
            yield spoken_chunk
