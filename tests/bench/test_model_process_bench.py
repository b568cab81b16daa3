"""What a call to the model process costs, beside what the socket and the copies alone cost."""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from flops.learning.model_process.process import ModelProcess

MODEL = """
import numpy as np
class ModelManager:
    def __init__(self):
        self.parameters = [np.zeros({numbers}, np.float32)]
    def get_model(self):
        return self
    def get_model_parameters(self):
        return self.parameters
    def set_model_parameters(self, parameters):
        self.parameters = parameters
    def fit_model(self):
        return 1
"""


def median_ms(call: Callable[[], object], repetitions: int) -> float:
    durations = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations) * 1000


@pytest.mark.bench
@pytest.mark.parametrize(("size_bytes", "repetitions", "limit_ms"), [(20_000, 300, 1.0), (10_000_000, 30, 40.0)])
def test_call_overhead(tmp_path: Path, size_bytes: int, repetitions: int, limit_ms: float) -> None:
    (tmp_path / "model_manager.py").write_text(MODEL.format(numbers=size_bytes // 4))
    with closing(ModelProcess(Path(sys.executable), tmp_path, tmp_path / "model")) as model:
        parameters = model.get_parameters()
        copy_ms = median_ms(lambda: [np.copy(array) for array in parameters], repetitions)
        get_ms = median_ms(model.get_parameters, repetitions)
        fit_ms = median_ms(lambda: model.fit(parameters), repetitions)

    print(f"\n{size_bytes:>12,} bytes: copy {copy_ms:.3f} ms, get {get_ms:.3f} ms, fit {fit_ms:.3f} ms")  # noqa: T201 -- the result
    assert fit_ms < limit_ms
