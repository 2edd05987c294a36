"""`python -m benchmarks limits`: what rate limits cost, and what they are good for.

Two gunicorns with the product's own settings on one Postgres, one with limits and one without, in
interleaved rounds. **Cost**: CPU per request of both together, each loaded as far as it goes, many
tenants in rotation, none of which meets its limit; the ratio of a round is with by without.

**Neighbours**: one tenant asks at a steady pace. Its 95th percentile while it is alone, while
another asks at ten times that one's limit, and the same without limits; ratios by rounds.
"""
