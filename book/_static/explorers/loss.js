// The three losses, as focalbook computes them, for all explorers.
"use strict";

const LOSSES = [
  { name: "cross-entropy", brief: "CE", tone: "ce", alpha: -1, gamma: 0 },
  { name: "balanced cross-entropy", brief: "balanced", tone: "bce", alpha: 0.75, gamma: 0 },
  { name: "focal loss", brief: "FL", tone: "fl", alpha: 0.25, gamma: 2 },
];

const logit = (p) => Math.log(p) - Math.log1p(-p);

// Focal loss of a logit x with the label y, and the size of its slope in x. Exact for every x: with q = 1 - p_t,
// FL = alpha_t q^gamma CE, and its slope has the size alpha_t q^gamma (q + gamma p_t CE). An alpha of -1 is no weight.
function focal(x, y, alpha, gamma) {
  const wrong = y ? -x : x; // the logit of the wrong class
  const e = Math.exp(-Math.abs(wrong));
  const large = 1 / (1 + e), small = e / (1 + e);
  const [q, pt] = wrong < 0 ? [small, large] : [large, small];
  const ce = Math.max(wrong, 0) + Math.log1p(e);
  const weight = (alpha < 0 ? 1 : y ? alpha : 1 - alpha) * q ** gamma;
  return { loss: weight * ce, gradient: weight * (q + gamma * pt * ce) };
}
