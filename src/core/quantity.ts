/** Quantities as Kubernetes writes them: `100m` processors, `64Mi` of memory. */

const FACTORS: Readonly<Record<string, number>> = {
  ...{ '': 1, m: 1e-3, k: 1e3, M: 1e6, G: 1e9 },
  ...{ Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 },
};

/** `64Mi` → 67108864; NaN where it is none. */
export function parseQuantity(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text) ?? [];
  return Number(digits) * (FACTORS[unit] ?? Number.NaN);
}

/** A sidecar that may have no less does not get as far as its first answer. */
export const SIDECAR_LEAST_MEMORY = '32Mi';
