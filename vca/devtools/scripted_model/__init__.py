"""An offline model that plays a script, for demos, tests and deployments without a model."""
