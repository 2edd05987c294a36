"""The AI's side of a call: what is said next, and what is done with the call.

Owns the prompt, the transcript as the model sees it, the models' clients (`llm/`) and the limits of
a conversation; no table, no session. Callers hand in plain values (`types`) and get plain values
back, so that no transaction is open while a model is asked. Imports `vca.kit` and libraries only:
neither Flask nor SQLAlchemy, and never the environment.
A turn goes from `engine` (is the call over?) to `answering` (clauses and actions), `asking` (which
model, how long), `reading` (a thread) and `llm/`. To add a model client: see `llm/`. To add a tool:
its declaration in `tools`, its action in `types.Action`, its words in `answering`; `calls` carries
it out.
"""
