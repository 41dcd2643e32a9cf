/** Numbers as a reader sees them. */

/**
 * Three significant digits; an en dash where there is no number. `signed` puts a plus before what is
 * above zero, where the sign is the message.
 */
export function short(value: number, signed = false): string {
  if (signed && value > 0) return `+${short(value)}`;
  if (value === 0) return "0"; // −0 too
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) {
    const [mantissa, exponent] = value.toExponential(1).split("e");
    return minus(`${mantissa.replace(/\.0$/, "")}e${exponent.replace("+", "")}`);
  }
  if (Number.isInteger(value)) return count(value);
  // Rounding must not leave 1,234.5 with digits that it does not have.
  return minus(size >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(3))));
}

const THOUSANDS = new Intl.NumberFormat("en-GB");

/** A whole number with its thousands apart. */
export function count(value: number): string {
  return minus(THOUSANDS.format(value));
}

function minus(text: string): string {
  return text.replaceAll("-", "−");
}
