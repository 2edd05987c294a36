"""`python -m benchmarks limits`: the cost of rate limits, and their benefit.

Two gunicorn servers with the product's own settings share one Postgres server, one with limits and
one without, in interleaved rounds. A third one rejects requests without delay.

**Cost**: CPU per request of web server and Postgres together. Each server is loaded as much as it
can bear, with many tenants in rotation, none of which reaches its limit. The ratio of a round is
with limits / without.

**Neighbours**: one tenant sends requests at a steady pace. The benchmark compares its 95th
percentile in three cases: while it is alone, while another tenant sends ten times its own limit,
and the same without limits. Ratios are computed per round.
"""
