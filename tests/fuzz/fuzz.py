"""Coverage-guided fuzzing of one decoder: ``python tests/fuzz/fuzz.py TARGET CORPUS [-max_total_time=60 …]``.

Needs atheris, which is no dependency: ``make fuzz`` installs it beside the tests' own tools.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2])]
with atheris.instrument_imports(include=["flops", "json"]):
    from tests.fuzz.seeds import seeds, words
    from tests.fuzz.targets import TARGETS

LARGEST_SEED_BYTES = 64 * 1024


def main() -> None:
    """Fuzz until the time is over or a promise is broken."""
    name, corpus, *options = sys.argv[1:]
    directory, dictionary = Path(corpus) / name, Path(corpus) / "words"
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        if len(seed) <= LARGEST_SEED_BYTES:
            (directory / f"seed-{number}").write_bytes(seed)
    dictionary.write_text("".join(f'"{word}"\n' for word in words()))
    atheris.Setup([sys.argv[0], str(directory), f"-dict={dictionary}", *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
