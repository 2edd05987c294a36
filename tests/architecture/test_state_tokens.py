"""Tokens are verified and signed where requests arrive and replies leave, and nowhere between."""

import ast
from collections import defaultdict

from tests.support.ast_index import source_modules

CALLS = "vca/tenant/calls"
# The only modules that verify or sign tokens of calls, and what they do.
EDGES = {
    # a carrier's request and the reply to it
    f"{CALLS}/carrier_webhooks/received_event.py": {"verify_state"},
    f"{CALLS}/carrier_webhooks/replies.py": {"sign_state"},
    # a voice WebSocket: its URL in a reply, and its handshake
    f"{CALLS}/carrier_webhooks/voice_websockets.py": {"sign_websocket", "verify_token"},
    # commands that we send to a carrier ourselves
    f"{CALLS}/control/call_control.py": {"sign_state"},
    f"{CALLS}/control/outbound_calls.py": {"sign_state"},
    # the simulated phone, which is a carrier
    f"{CALLS}/simulation/simulated_phone.py": {"sign_state"},
}
OPERATIONS = {"sign_state", "sign_websocket", "verify_state", "verify_token"}


def test_only_the_edges_verify_and_sign_tokens() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for module in source_modules():
        for node in module.nodes():
            if isinstance(node, ast.Attribute) and node.attr in OPERATIONS:
                users[module.path].add(node.attr)
    assert users == EDGES
