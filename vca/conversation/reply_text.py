"""The text that the agent says in one turn, while it arrives."""

from collections.abc import Iterable, Iterator

from vca.conversation import speech_text


class ReplyText:
    """The spoken chunks of one answer, together within `speech_text.MAX_CHARS`."""

    def __init__(self) -> None:
        self._chunker = speech_text.SentenceChunker()
        self._spoken_chunks: list[str] = []
        self._chars_left = speech_text.MAX_CHARS
        self.has_model_text = False
        """Whether it contains text of a model, and not only our own phrases."""
        self.is_full = False
        self._round_start = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return speech_text.join_chunks(self._spoken_chunks)

    @property
    def round_text(self) -> str:
        """The text since the last `start_round`."""
        return speech_text.join_chunks(self._spoken_chunks[self._round_start :])

    @property
    def is_cut_off(self) -> bool:
        """Whether the text ends in the middle of a sentence."""
        return not speech_text.ends_with_sentence(self.text)

    def start_round(self) -> None:
        """Begin another answer of the same turn."""
        self.discard_pending()
        self._round_start = len(self._spoken_chunks)

    def add_chunk(self, chunk: str) -> Iterator[str]:
        """Yield the chunks that can be spoken once the model's chunk is added."""
        yield from self._fit(self._chunker.add_chunk(chunk))

    def finish(self, *, truncated: bool) -> Iterator[str]:
        """Yield the last chunk; of a truncated answer, only a complete sentence."""
        yield from self._fit(self._chunker.finish(truncated=truncated))

    def discard_pending(self) -> None:
        """Discard unfinished text: another model answers now, or the text was reasoning."""
        self._chunker = speech_text.SentenceChunker()

    def add_phrase(self, phrase: str) -> str:
        """Add one of our own phrases, which can be spoken at once."""
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
