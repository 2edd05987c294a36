"""The AI's side of a call: what the agent says next and which actions follow.

This package owns the prompt, the transcript as the model sees it, the model clients (`llm/`) and
the limits of a conversation. It owns no table and no session. Callers pass plain values (`types`)
and receive plain values, so that no transaction is open while a model is called. It imports
`vca.kit` and libraries only: neither Flask nor SQLAlchemy, and it never reads the environment.

A turn passes through `engine` (is the call over?), `response_builder` (spoken chunks and actions),
`model_fallback` (which model, how long to wait), `stream_reader` (the reading thread) and `llm/`.

To add a model client, see `llm/`. To add a tool: add its declaration to `tools`, its action to
`types.Action` and its phrases to `response_builder`; the `calls` package executes it.
"""
