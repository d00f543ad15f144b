"""The paper's Table 1: ``python -m benchmarks.table1``; what it does is told in ``benchmarks.learning.table1``."""

from benchmarks.learning.table1 import main

if __name__ == "__main__":
    main()
