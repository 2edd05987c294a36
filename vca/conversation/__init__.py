"""The AI's side of a call: what the agent says next and which actions follow.

This package owns the prompt, the transcript as the model sees it, the model clients (`llm/`) and
the limits of a conversation. It owns no table and no session. Callers pass plain values (`types`)
and receive plain values, so that no transaction is open while a model is called. It imports
`vca.kit` and libraries only: neither Flask nor SQLAlchemy, and it never reads the environment.

A turn passes through `engine` (is the call over?), `response_builder` (spoken chunks and actions),
`model_fallback` (which model, how long to wait), `stream_reader` (the reading thread),
`speech_only_model` (what of an answer is speech) and `llm/`. What an answer contains besides speech
is read by `answer_filter`, with the marks of chat templates in `model_markup` and tool calls in the
text in `written_calls`; `markup` removes Markdown, HTML and emoji.

To add a model client, see `llm/`. To add a tool: add its declaration to `tools`, its action to
`types.Action` and its phrases to `action_phrases`; the `calls` package executes it.
"""
