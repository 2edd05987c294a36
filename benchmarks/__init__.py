"""Benchmarks of VCA. `make bench` runs all of them.

`python -m benchmarks requests` measures the cost of a request, compared with the same work written
by hand. Three apps run under gunicorn with the product's own settings, at the same time and on one
Postgres server: VCA, a hand-written Flask and psycopg2 app, and a bare Flask page. They are loaded
in turn, round after round, so that a drift of the machine's speed affects all of them alike.

**CPU per request** = (user + system time of all gunicorn processes of the app + that of all
processes of the Postgres cluster, including backends that have ended) / requests answered. The load
generator is not included.

**The ratio** of a round = VCA's CPU per request / that of the hand-written app in the adjacent
round. The report shows the median of all rounds with the minimum and the maximum. The ratio to the
bare Flask page is computed the same way.

`python -m benchmarks requests --against REV` compares a GET, an inbound call and two POSTs of this
checkout with those of another revision instead; see `benchmarks.request_comparison`.

`python -m benchmarks turns` measures how long a caller waits; see `benchmarks.turns`.

`python -m benchmarks relay` measures the same over voice WebSockets; see `benchmarks.relay`.

`python -m benchmarks limits` measures what rate limits cost, and how they protect other tenants
from one that sends too many requests; see `benchmarks.limits`.

`python -m benchmarks deliveries` measures how a webhook receiver that never answers affects the
others; see `benchmarks.deliveries`.

`python -m benchmarks neighbours` measures a quiet tenant beside busy tenants and hostile clients
without a key; see `benchmarks.neighbours`.

`python -m benchmarks lanes` measures how long it takes to take a job from a lane with a long queue;
see `benchmarks.lane_cost`.

`python -m benchmarks jobs` measures the CPU of a job, with `--against REV` also that of another
revision; see `benchmarks.job_cost`.

`python -m benchmarks schemas` measures the CPU time that the most expensive JSON Schemas of tenants
take when they are saved and when they are applied; see `benchmarks.schema_cost`.

`python -m benchmarks fleet` measures thousands of tenants; see `benchmarks.fleet`.
"""
