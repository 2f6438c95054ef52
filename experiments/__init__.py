"""The paper's tables and figures, the demo and the benchmarks; not part of the wheel."""
