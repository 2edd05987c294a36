"""The product's own server settings, without the hooks that prepare a VCA worker."""

import runpy
from pathlib import Path

_HOOKS = ("post_worker_init", "post_fork", "worker_exit", "when_ready", "on_starting", "on_exit")
_PRODUCT = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"

globals().update(
    {
        name: value
        for name, value in runpy.run_path(str(_PRODUCT)).items()
        if not name.startswith("_") and name not in _HOOKS
    }
)
