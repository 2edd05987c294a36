"""Token buckets in `public`, shared by all processes, and each process's prefetched tokens."""
