"""VCA's own share of a turn: how long a caller waits beyond the model's own time.

A hundred calls are live at once over the signed fake carrier. A carrier sends the caller's words
once they have been spoken: between two turns a caller listens to the agent's words and speaks ten
words, both at 150 words a minute, the average of English, and thinks for 0.5 to 2.5 seconds. With
`--hurried` callers only think, which makes about six times as many turns: this shows what the
machine can bear, not what calls are like.

The model is a separate server that streams twenty tokens: the first after 300 ms, then one every 20
ms.

**Own share** = from the carrier's request to the last byte of the response, minus the time of the
model's server from reading that turn's request to sending its last byte. Each turn contains a mark
that the model's server finds in the prompt, so both times belong to the same turn.
"""
