"""Carrier adapters: one contract, one package per carrier. No Flask and no SQLAlchemy.

`adapter` is the contract and `types` holds the values that cross it. To add a carrier, create a
package in `providers/`, add a line to `providers.ADAPTERS`, subclass the contract suite
(`tests/contract/suites/telephony/`) and add its settings to `.env.example`.
"""
