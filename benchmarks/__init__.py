"""What VCA costs, beside the same work done by hand. `make bench` measures all of it.

`python -m benchmarks requests`: three apps are served under gunicorn with the product's own
settings, all at once on one Postgres, and loaded in turn, round after round, so that a drift of the
machine hits all alike: VCA, a hand-written Flask and psycopg2 app, and a bare Flask page.

**CPU per request** = (user + system time of all the app's gunicorn processes + of all processes of
the Postgres cluster, ended backends included) / requests answered. The load generator is not in it.

**The ratio** of a round = VCA's CPU per request / that of the hand-written app in the round beside
it; what is reported is the median of all rounds, and their least and greatest. The ratio to a bare
Flask hello is made alike.

`python -m benchmarks turns`: what a caller waits; see `benchmarks.turns`.

`python -m benchmarks limits`: what rate limits cost, and what they spare the neighbours of a tenant
that asks too much; see `benchmarks.limits`.

`python -m benchmarks deliveries`: a dead receiver and the others; see `benchmarks.deliveries`.

`python -m benchmarks fleet`: thousands of tenants; see `benchmarks.fleet`.
"""
