"""A tenant's calls: routing, turns, carrier webhooks, call control and simulation.

The packages import downwards only:

- `core`: tables, the state machine, metering and the events of a call.
- `routing`: the rules that decide how a number is answered.
- `turns`: the conversation, from the greeting to transfers and post-call analysis.
- `carrier_webhooks`: carriers' requests over HTTP and voice WebSockets.
- `control`: outbound calls, commands on live calls and reconciliation with carriers.
- `simulation`: simulated calls, replays and the phone in the terminal.

Routes, schemas, jobs and commands are above all six. `core.state_machine` and
`routing.routing_rules` are pure functions. Carriers' transports call three modules of `turns`:
`call_start`, `turn_handler` and `call_flow`.
"""
