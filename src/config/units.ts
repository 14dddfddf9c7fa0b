/**
 * How settings are written: durations, file modes, addresses, the issuer's URL.
 * Each parser throws RangeError with a sentence for the operator.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { numberPattern } from '../core/number-pattern.ts';
import { show } from './problems.ts';

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

const SECONDS_OF = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
export const DURATION = /^(?:0|[1-9][0-9]{0,8})[smhd]$/;

/** Durations of so many seconds: what a schema can say of the two bounds. */
export function durationPattern(least: number, most: number): RegExp {
  const units = Object.entries(SECONDS_OF).flatMap(([unit, seconds]) => {
    const [first, last] = [Math.ceil(least / seconds), Math.floor(most / seconds)];
    return first > last ? [] : [`(?:${numberPattern(first, last)})${unit}`];
  });
  return new RegExp(`^(?:${units.join('|')})$`);
}

/** `10m` → 600. */
export function parseDuration(text: string): number {
  if (!DURATION.test(text)) throw new RangeError(durationProblem(text));
  const unit = text.slice(-1) as keyof typeof SECONDS_OF;
  return Number(text.slice(0, -1)) * SECONDS_OF[unit];
}

/** What is wrong with something that is no duration. */
export function durationProblem(value: unknown): string {
  const digits = textOf(value);
  if (!/^[0-9]{1,9}$/.test(digits))
    return `must be a duration such as 90s, 10m, 24h or 7d, not ${show(value)}`;
  const seconds = Number(digits);
  const other = seconds % 60 === 0 && seconds > 0 ? ` or ${formatDuration(seconds)}` : '';
  return `${digits} has no unit: write ${digits}s${other}`;
}

/** 600 → `10m`: the largest unit that divides it, days only from two on. */
export function formatDuration(seconds: number): string {
  if (seconds === 0) return '0s';
  if (seconds % SECONDS_OF.d === 0 && seconds > SECONDS_OF.d) return `${seconds / SECONDS_OF.d}d`;
  if (seconds % SECONDS_OF.h === 0) return `${seconds / SECONDS_OF.h}h`;
  return seconds % SECONDS_OF.m === 0 ? `${seconds / SECONDS_OF.m}m` : `${seconds}s`;
}

export const MODE = /^0[0-7]{3}$/;

/** `"0640"` → 0o640. */
export function parseMode(text: string): number {
  if (!MODE.test(text)) throw new RangeError(modeProblem(text));
  return Number.parseInt(text, 8);
}

/** What is wrong with something that is no mode. A bare 0640 is the decimal number 640 in YAML. */
export function modeProblem(value: unknown): string {
  const digits = textOf(value);
  // Only what was surely meant: 0o400 arrives here as 256.
  const quoted = /^[0246]{3}$/.test(digits) ? `0${digits}` : '0640';
  if (typeof value === 'number') return `must be quoted, or YAML reads a number: write "${quoted}"`;
  return `must be a file mode in octal digits such as "${quoted}", not ${show(value)}`;
}

export function formatMode(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

export type ListenAddress = {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
};

export const LISTEN = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})$/;

/** `127.0.0.1:8443` or `[::1]:8443`. */
export function parseListen(text: string): ListenAddress {
  const [, six, name, digits] = LISTEN.exec(text) ?? [];
  const host = six ?? name;
  const isHost = six === undefined ? isHostName(name) : isIPv6(six);
  if (host === undefined || !isHost || Number(digits) > 65_535) throw new RangeError(listenProblem(text));
  return { host, port: Number(digits) };
}

function isHostName(name: string | undefined): boolean {
  if (name === undefined || name.length > 253) return false;
  if (/^[0-9.]+$/.test(name)) return isIPv4(name);
  return name.split('.').every((label) => /^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$/.test(label));
}

export function listenProblem(value: unknown): string {
  const port = /^:?([0-9]{1,5})$/.exec(textOf(value))?.[1];
  if (port !== undefined) return `names no address: write 127.0.0.1:${port}, or 0.0.0.0:${port} for everyone`;
  return `must be an address and a port such as 127.0.0.1:8443 or [::1]:8443, not ${show(value)}`;
}

export function formatListen({ host, port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** 127.0.0.0/8, ::1 or localhost. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/** What AWS takes for an OIDC provider's URL. */
export const ISSUER_MAX_LENGTH = 255;
const PORT = numberPattern(1, 65_535);
export const ISSUER = new RegExp(
  `^https?://(?:[a-z0-9.-]+|\\[[0-9a-f:.]+\\])(?::(?:${PORT}))?(?:/[A-Za-z0-9._~-]+)*$`,
);

/**
 * Relying parties compare `iss` character by character, so only the normal form
 * passes: https, a lower-case host, no user, query, fragment or final slash.
 */
export function assertIssuer(text: string): void {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw new RangeError('must be an https URL');
  const url = new URL(text);
  if (text.length > ISSUER_MAX_LENGTH) throw new RangeError(`is longer than ${ISSUER_MAX_LENGTH} characters`);
  if (url.port === '0') throw new RangeError('must name the port that the listener really has');
  if (url.username !== '' || url.password !== '') throw new RangeError('must not name a user');
  if (text.includes('?') || text.includes('#')) throw new RangeError('must have no query and no fragment');
  const normal = url.pathname === '/' ? url.origin : `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
  if (!ISSUER.test(normal)) throw new RangeError('may have only letters, digits and . _ ~ - in its path');
  if (url.protocol === 'http:' && !isLoopback(issuerHost(normal)))
    throw new RangeError('must be https; http is for a development issuer on a loopback address only');
  if (text.endsWith('/')) throw new RangeError(`must not end in a slash: write ${text.replace(/\/+$/, '')}`);
  if (text !== normal) throw new RangeError(`is not in normal form: write ${normal}`);
  if (url.pathname.includes('/.well-known')) throw new RangeError('must not have .well-known in its path');
}

/** The host of an issuer, without brackets and port. */
export function issuerHost(issuer: string): string {
  return new URL(issuer).hostname.replace(/^\[|\]$/g, '');
}
