"""How long a caller on a voice WebSocket waits for the first words, beyond the model's own time.

Two hundred calls ring over HTTP, get one WebSocket each and keep it open; one process plays Twilio
for all of them. Between two turns a caller listens to the agent's words and speaks ten words, both
at 150 words a minute, and thinks for 0.5 to 2.5 seconds. With `--hurried` callers only think.

The model's first token is a whole chunk, sent after 300 ms, so it can be spoken at once.

**Overhead** = from the caller's prompt on the connection to the first words on the connection,
minus the time of the model's server from reading that turn's request to sending its first token.
"""
