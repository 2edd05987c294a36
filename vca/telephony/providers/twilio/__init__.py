"""Twilio: TwiML, webhooks, and the REST API through the official SDK. Protocol code only.

`adapter` implements the contract and imports quickly; the first operation imports the SDK through
`rest`. `webhooks` parses requests and `twiml` renders replies. `numbers`, `calls`, `recordings` and
`webrtc` call the REST API. `errors` interprets error responses and `statuses` interprets call
statuses.
"""
