/** Figures as a table for people and as JSON for programs. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

export type Figure = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is measured beside, in the same unit and the same run. */
  readonly reference?: { readonly name: string; readonly value: number };
  /** Value to reference: the median of the rounds' own ratios. */
  readonly ratio?: number;
  readonly target?: Target;
};

/** What is to reach, of the value or of the ratio. */
export type Target = { readonly of: 'value' | 'ratio'; readonly least?: number; readonly most?: number };

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
};

export function isMet({ value, ratio, target }: Figure): boolean | undefined {
  if (target === undefined) return undefined;
  const measured = target.of === 'ratio' ? (ratio ?? Number.NaN) : value;
  return measured >= (target.least ?? Number.NEGATIVE_INFINITY) && measured <= (target.most ?? Infinity);
}

export function toJson(figures: readonly Figure[]): string {
  const document = {
    machine: {
      cpu: cpus()[0]?.model,
      cores: cpus().length,
      memoryMiB: Math.round(totalmem() / 2 ** 20),
      kernel: release(),
      loadAverage: loadavg()[0],
    },
    versions: {
      mintmark: versionOf('../../package.json'),
      node: process.version,
      openssl: process.versions.openssl,
      koa: versionOf('../../node_modules/koa/package.json'),
    },
    figures: figures.map((figure) => ({
      name: figure.name,
      value: rounded(figure.value),
      unit: figure.unit,
      reference: figure.reference && { ...figure.reference, value: rounded(figure.reference.value) },
      ratio: figure.ratio && rounded(figure.ratio),
      target: figure.target && describeTarget(figure),
      met: isMet(figure),
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

export function toTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.name,
    `${shown(figure.value)} ${figure.unit}`,
    figure.reference === undefined ? '' : `${figure.reference.name} ${shown(figure.reference.value)}`,
    figure.ratio === undefined ? '' : figure.ratio.toFixed(2),
    figure.target === undefined ? '' : describeTarget(figure),
    { true: 'met', false: 'MISSED', undefined: '' }[String(isMet(figure))] ?? '',
  ]);
  const all = [['', 'measured', 'beside', 'ratio', 'target', ''], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function describeTarget({ unit, target }: Figure): string {
  const { of, least, most } = target ?? {};
  const bound = least === undefined ? `≤ ${most}` : `≥ ${least}`;
  return of === 'ratio' ? `ratio ${bound}` : `${bound} ${unit}`;
}

const shown = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en') : String(rounded(value));
const rounded = (value: number): number => Number(value.toPrecision(4));

function versionOf(packageJson: string): string {
  return JSON.parse(readFileSync(new URL(packageJson, import.meta.url), 'utf8')).version;
}
