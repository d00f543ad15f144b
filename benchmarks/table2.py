"""The paper's Table 2: ``python -m benchmarks.table2``; what it does is told in ``benchmarks.learning.table2``."""

from benchmarks.learning.table2 import main

if __name__ == "__main__":
    main()
