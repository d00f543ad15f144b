"""The parts that all benchmarks share: options, timing, targets, kept results, pages."""
