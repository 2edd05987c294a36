"""Token buckets in `public`, shared by all processes, and the tokens that each has in hand."""
