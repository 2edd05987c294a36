"""What processes share is passed on as `Services`; only the edges take it from their app."""

import ast

from tests.support.ast_index import source_modules

# Modules that take the services from the current app: views, commands, and what both call.
EDGES = ("routes.py", "handlers.py", "commands.py", "_command.py", "demo_data.py", "dev_server.py")
EDGE_MODULES = {
    "vca/registry/owner_connections.py",
    "vca/servers/relay/route.py",
    "vca/servers/worker.py",
    "vca/services/__init__.py",
}
# What a process has once, whatever its apps are: the files of its metrics, and its failpoints.
PROCESS_GLOBALS = {
    "vca/kit/failpoints.py": {"_folder"},
    "vca/observability/prometheus.py": {"_registry", "_folder"},
}


def test_only_the_edges_take_the_services_from_the_app() -> None:
    users = {
        module.path
        for module in source_modules()
        for node in module.nodes()
        if isinstance(node, ast.Name) and node.id == "current_services"
    }

    assert {
        path
        for path in users - EDGE_MODULES
        if not path.startswith("vca/api/") and not path.endswith(EDGES)
    } == set()


def test_no_function_sets_a_global_but_those_of_the_process() -> None:
    names: dict[str, set[str]] = {}
    for module in source_modules():
        for node in module.nodes():
            if isinstance(node, ast.Global):
                names.setdefault(module.path, set()).update(node.names)

    assert names == PROCESS_GLOBALS
