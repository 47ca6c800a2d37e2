"""Upstreams with the real wire formats, for the demo, the tests and the benchmarks."""
