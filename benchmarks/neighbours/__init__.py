"""How much one tenant, or a client without a key, can slow the service of another tenant.

A quiet tenant sends a steady load: 10 GET/s, 2 POST/s with a DELETE each, an inbound call a second
and an outbound call every five seconds. It is measured alone and then beside one busy client, in
alternate rounds. `busy_clients` lists the busy clients: slow webhook receivers, simulations with a
slow model, slow requests with and without an API key, expensive JSON Schemas, many exports, and
handshakes of voice WebSockets.

The processes are those of production: two web workers, two relay workers and `flask worker`, with
the default limits. Both load generators run on the machine's last core, in all rounds alike.
"""
