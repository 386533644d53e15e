"""Temperature scaling and how well confidences are calibrated. Pure NumPy and SciPy."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from tango_beam.arrays import Bool, Float32, Float64, Int64

LIMITS = 0.05, 20.0


def fit_temperature(logits: Float32, answers: Int64) -> float:
    """The temperature that makes the given answers most likely (Guo et al., 2017, section 4.2).

    Args:
      logits: float32, shape [rows, labels].
      answers: index of the right label, or of the one that the last tier gives, shape [rows].

    Returns:
      A temperature within `LIMITS`; 1 where there are no rows.
    """
    if not len(logits):
        return 1.0
    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature)
        chosen = np.take_along_axis(scaled, answers[:, None], axis=1)[:, 0]
        return float((special.logsumexp(scaled, axis=1) - chosen).mean())

    best = optimize.minimize_scalar(loss, bounds=tuple(np.log(LIMITS)), method="bounded")
    return float(round(np.exp(best.x), 4))


def fit_margin(margins: Float32, decided: Bool) -> tuple[float, float]:
    """Slope and intercept that make margins the logit of a decision (Platt, 1999).

    As there, decisions are taken to be a little less than sure, so that margins that part them
    without an error get a slope too.

    Args:
      margins: of a tier, float32, shape [rows].
      decided: what the last tier decides, shape [rows].

    Returns:
      A slope above 0, and an intercept; 1 and 0 where there are no rows.
    """
    if not len(margins):
        return 1.0, 0.0
    yes, wide = int(decided.sum()), margins.astype(np.float64)
    goals = np.where(decided, (yes + 1) / (yes + 2), 1 / (len(decided) - yes + 2))
    scale = max(float(wide.std()), 1e-6)

    def loss(fit: Float64) -> float:
        logits = np.exp(fit[0]) / scale * wide + fit[1]
        return float((np.logaddexp(0, logits) - goals * logits).mean())

    bounds = [tuple(np.log(LIMITS)), (-LIMITS[1], LIMITS[1])]
    best = optimize.minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds)
    return float(round(np.exp(best.x[0]) / scale, 6)), float(round(best.x[1], 6))


def expected_calibration_error(confidences: Float32, right: Bool, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy, 0 to 1, over equal-width bins weighted by rows.

    Guo et al., 2017, equation 3. Args have shape [rows]; 0 where there are no rows.
    """
    if not len(confidences):
        return 0.0
    bin_of = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=confidences.astype(np.float64) - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))
