"""Telnyx: calls reported by events, and controlled by REST commands (Call Control). Protocol only.

`events` parses what Telnyx sends and `signature` verifies it. `command_builder` translates a reply
into commands and `control` sends them. `client_state` is what a call carries from a command to the
next event, because nothing here stores anything about a call. `numbers` and `application` manage
the account's resources, `recordings` its recordings, and `call_log` finds calls. `hangup_causes`
and `speech` are tables. `api` wraps Telnyx's own SDK.
"""
