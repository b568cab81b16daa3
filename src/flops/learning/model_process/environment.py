"""What of the actor's environment the ML repository's code gets to see."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PASSED_ON: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TZ|TMPDIR|LANG|LANGUAGE|LC_\w+|LD_LIBRARY_PATH|DYLD_\w+|SSL_CERT_(FILE|DIR)|"
    r"REQUESTS_CA_BUNDLE|XDG_\w+|(CUDA|NVIDIA|ROCR|HIP|OMP|KMP|GOMP|MKL|OPENBLAS|NUMEXPR|BLIS|VECLIB|TF|XLA|KERAS|"
    r"TORCH|PYTORCH|HF|JAX)_\w+"
)
_SECRET: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(API|ACCESS|PRIVATE)?_?KEY($|_)|AUTH", re.IGNORECASE)
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def model_environment(
    actor_environment: Mapping[str, str], directory: Path, data: Path | None, added: Mapping[str, str]
) -> dict[str, str]:
    """What a model process may know: where it lives, its language and its accelerators, but no credentials.

    ``added`` wins over all. Caches of the ML libraries go below ``directory``.
    """
    passed_on = {
        name: value
        for name, value in actor_environment.items()
        if _PASSED_ON.fullmatch(name) and not _SECRET.search(name)
    }
    caches = directory / "cache"
    defaults = {
        "HF_HOME": str(caches / "huggingface"),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "KERAS_HOME": str(caches / "keras"),
        "TORCH_HOME": str(caches / "torch"),
        "MPLCONFIGDIR": str(caches / "matplotlib"),
        "MPLBACKEND": "Agg",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TOKENIZERS_PARALLELISM": "false",
        **dict.fromkeys(_THREADS, str(usable_cores())),
    }
    known = {"FLOPS_MODEL_DATA": str(data)} if data else {}
    return {**defaults, **passed_on, **known, **added}


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
