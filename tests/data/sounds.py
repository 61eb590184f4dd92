"""Small sounds that tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile


def chirp(rate: int, seconds: float = 0.5, top: float = 3000.0) -> np.ndarray:
    """(N,) float64, a tone that rises to `top` Hz, at half of the full scale, and swells and fades."""
    time = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(np.pi * time / seconds) * np.sin(np.pi * top * time**2 / seconds)


def written(path: Path, samples: Any, rate: int = 16_000, **form: Any) -> Path:
    """A sound file of these samples; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **form)
    return path
