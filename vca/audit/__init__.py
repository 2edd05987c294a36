"""The audit mechanism: who performs which operation, and how changes are redacted.

`context` carries the operation of a request or command to its commits; `redaction` decides how
changed values are shown. `vca.registry.audit` stores the entries. This package imports
`vca.observability`, `vca.settings` and `vca.kit` only. To show or hash a column in the audit log,
set its `info` to `PLAIN` or `HASHED` in the model.
"""
