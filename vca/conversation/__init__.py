"""The AI's side of a call: what is said next, and what is done with the call.

Owns the prompt, the transcript as the model sees it, the models' clients (`llm/`) and the limits of
a conversation; no table, no session. Callers hand in plain values (`types`) and get plain values
back, so that no transaction is open while a model is asked. Imports `vca.kit` and libraries only:
neither Flask nor SQLAlchemy, and never the environment.
To add a model client: see `llm/`. To add an action: a dataclass in `types.Action`, made in
`engine`, carried out in `calls`.
"""
