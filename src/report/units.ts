/** Numbers as people read them; the same on every machine, whatever its locale. */

const SIZES = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** Decimal units, two digits or more: `999 B`, `2.6 MB`, `13 GB`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would round up to 1000 of its unit.
  while (unit + 1 < SIZES.length && value >= (unit === 0 ? 1000 : 999.5)) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${SIZES[unit]!}`;
}

/** With separators: `1,198,592`. */
export function countText(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** Four significant digits: `0.007385`, `12.35`, `1.2e-7`. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "infinite" : "-infinite";
  return String(Number(value.toPrecision(4)));
}

/** A share in percent: `20.1 %`; very small ones as `< 0.1 %`, so that they do not look like nothing. */
export function percentText(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  return `${percent.toFixed(1)} %`;
}

/** `0.49 s`, `12.3 s`, `4 min 05 s`, `2 h 07 min`. */
export function durationText(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** `1 tensor`, `2 tensors`. */
export function countOf(count: number, noun: string): string {
  return `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;
}
