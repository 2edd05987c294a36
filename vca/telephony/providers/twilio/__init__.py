"""Twilio: its TwiML, its webhooks and its REST API by the official SDK; protocol code only.

`adapter` keeps the contract and is light to import: the SDK comes with `rest`, when something is
first asked of Twilio. A webhook is read by `webhooks` and answered by `twiml`; `numbers`, `calls`,
`recordings` and `browsers` ask, `errors` says what a refusal means and `statuses` what a status.
"""
