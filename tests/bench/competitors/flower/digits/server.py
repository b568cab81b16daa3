"""The ServerApp: FedAvg over two nodes."""

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

WORTH_COMPARING = 0.9

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds and say when they are over."""
    initial = ArrayRecord([np.zeros((10, 64)), np.zeros(10)])
    rounds = int(context.run_config["rounds"])
    result = FedAvg().start(grid=grid, initial_arrays=initial, num_rounds=rounds)
    if result.evaluate_metrics_clientapp[rounds]["accuracy"] < WORTH_COMPARING:
        raise ArithmeticError(str(result))
    unfinished = Path(f"{context.run_config['finished']}.unfinished")
    unfinished.write_text(str(time.time()))
    unfinished.rename(str(context.run_config["finished"]))
