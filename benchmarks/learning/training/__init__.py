"""The parts that the experiments share: training, data, methods, counting."""
