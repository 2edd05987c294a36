"""Telnyx: calls told by events, and led by commands over REST (call control).

`events` reads what Telnyx sends and `signature` believes it; `orders` puts a reply into commands,
`control` sends them; `marks` is what a call carries from one to the other, since nothing here keeps
anything about a call. `numbers` and `application` are what the account holds, `audio` recordings,
`outcomes` and `speech` the tables, `api` the way to Telnyx's own SDK. Protocol only.
"""
