"""VCA's own share of a turn: what a caller waits beyond what the model takes.

A hundred calls are live at once over the signed fake carrier; their callers think for half a second
to two and a half between what they hear and what they say. The model is a server of its own that
streams: the first token after 300 ms, then one every 20 ms, twenty in all.

**Own share** = from the carrier's request to the last byte of the answer, less what the model's
server took from reading that turn's request to having sent its last byte. Each turn bears a mark
that the model's server finds in the prompt, so the two times are of the same turn.
"""
