"""How far a command has come."""

import sys
from typing import Any


class ProgressBar:
    """Keras' progress bar, one per module; lines of their own where nobody watches.

    Args:
      several: modules train at the same time, so that each line says of which it is.
    """

    def __init__(self, several: bool = False) -> None:
        self._several = several
        self._steps: dict[str, int] = {}  # of several
        self._bar: Any = None
        self._label: str | None = None
        self._step = 0
        self._interactive = sys.stdout.isatty()

    def update(self, label: str, step: int, steps: int, losses: dict[str, float]) -> None:
        """Shows that ``step`` of ``steps`` is done."""
        if self._several:
            before, self._steps[label] = self._steps.get(label, 0), step
            if step == steps or step * 10 // steps > before * 10 // steps:
                print(f"{label}: step {step}/{steps}  {_shown(losses)}", flush=True)
            return
        if label != self._label:
            self.end()
            self._label = label
            print(f"{label}:", flush=True)
            if self._interactive:
                import keras

                self._bar = keras.utils.Progbar(steps, stateful_metrics=list(losses), interval=0.5)
        if self._bar is not None:
            self._bar.update(step, list(losses.items()))
        elif step == steps or step * 10 // steps > self._step * 10 // steps:
            print(f"  step {step}/{steps}  {_shown(losses)}", flush=True)
        self._step = step

    def report(self, line: str) -> None:
        """Shows a line of its own."""
        print(f"\n{line}" if self._bar is not None else line, flush=True)

    def end(self) -> None:
        """Ends the running bar."""
        if self._bar is not None:
            print(flush=True)
        self._bar, self._label, self._step = None, None, 0


def _shown(losses: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
