"""Side-by-side benchmarks: `make bench` runs them, docs/benchmarks.md is rendered from them."""
