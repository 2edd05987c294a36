"""What a caller who speaks through a socket waits for the first word beyond what the model takes.

Two hundred calls ring over HTTP, are given a socket each, and hold it: Twilio's end of all of them
is one process. Between two turns a caller hears the agent's words and speaks ten of his own, at 150
a minute, and thinks for half a second to two and a half; `--hurried` ones only think.

The model's first token is a whole clause, after 300 ms: what is said first can be said at once.

**Overhead** = from the caller's prompt on the wire to the first words on the wire back, less what
the model's server took from reading that turn's request to having sent its first token.
"""
