"""What a request costs, beside a hand-written Flask and psycopg2 app that does the same work.

`python -m benchmarks` (`make bench`) serves three apps under gunicorn with the product's own
settings, all at once on one Postgres, and loads them in turn, round after round, so that a drift
of the machine hits all alike.

**CPU per request** = (user + system time of all the app's gunicorn processes + of all processes of
the Postgres cluster, ended backends included) / requests answered. The load generator is not in it.

**The ratio** of a round = VCA's CPU per request / that of the hand-written app in the round beside
it; what is reported is the median of all rounds, and their least and greatest. The ratio to a bare
Flask hello is made alike.
"""
