/**
 * The option `--scale N` of the long suites: a factor on their amount of work. 1 is the suite's default.
 */
"use strict";

/**
 * Takes `--scale N` out of the arguments.
 * @returns {number} the factor, 1 when none is given
 * @throws when N is no positive number
 */
function takeScale(args) {
  const at = args.indexOf("--scale");
  if (at === -1) return 1;
  const [, text = ""] = args.splice(at, 2);
  const scale = Number(text);
  if (!(scale > 0 && Number.isFinite(scale)))
    throw new Error(`--scale takes a positive number, not "${text}"`);
  return scale;
}

/** `amount` times the factor, as a whole number of at least 1. */
function scaled(amount, scale) {
  return Math.max(1, Math.round(amount * scale));
}

/** The range `A..B` with the same first seed and a scaled number of seeds. Any other text is returned unchanged. */
function scaledSeeds(range, scale) {
  const match = /^(\d+)\.\.(\d+)$/.exec(range);
  if (match === null || scale === 1) return range;
  const [first, last] = [Number(match[1]), Number(match[2])];
  return `${first}..${first + scaled(last - first + 1, scale) - 1}`;
}

module.exports = { takeScale, scaled, scaledSeeds };
