"""Carriers: one contract, one folder for each, no Flask and no SQLAlchemy.

`adapter` is the contract, `types` what crosses it, `mock` the fake carrier that keeps it too. To
add a carrier: a folder in `providers/`, a line in `providers.ADAPTERS`, a subclass of the contract
suite (`tests/contract/suites/telephony.py`), its settings in `.env.example`.
"""
