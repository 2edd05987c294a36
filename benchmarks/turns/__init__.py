"""VCA's own share of a turn: what a caller waits beyond what the model takes.

A hundred calls are live at once over the signed fake carrier. A carrier sends what was said once it
has been said: between two turns a caller hears the agent's words and speaks ten of his own, at 150
a minute, the average of English, and thinks for half a second to two and a half. `--hurried` ones
only think, which is some six times the turns: what the machine can bear, not what calls are like.

The model is a server of its own that streams: the first token after 300 ms, then one every 20 ms,
twenty in all.

**Own share** = from the carrier's request to the last byte of the answer, less what the model's
server took from reading that turn's request to having sent its last byte. Each turn bears a mark
that the model's server finds in the prompt, so the two times are of the same turn.
"""
