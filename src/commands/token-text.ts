/** A token as people read it. Nothing is verified here. */
import { printable } from './ask.ts';
import { CommandError } from './command.ts';

export type DecodedToken = {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
};

/** Throws CommandError where it is no JWS compact serialization (RFC 7515 section 7.1). */
export function decodeToken(token: string): DecodedToken {
  const [header, claims, signature] = token.split('.');
  if (header === undefined || claims === undefined || signature === undefined)
    throw new CommandError('the answer is no JWT');
  const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  return { header: parse(header), claims: parse(claims) };
}

const TIMES = ['iat', 'nbf', 'exp'];

export function formatToken(token: string, now: number): string {
  const { header, claims } = decodeToken(token);
  const lines = [...Object.entries(header), ...Object.entries(claims)].map(
    ([name, value]) =>
      `${printable(name).padEnd(12)} ${TIMES.includes(name) ? formatTime(Number(value), now) : formatValue(value)}`,
  );
  return `${lines.join('\n')}\n`;
}

function formatValue(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value));
}

/** `2026-11-23T20:00:00Z (in 9 min 59 s)` */
export function formatTime(seconds: number, now: number): string {
  const distance = Math.round(seconds - now);
  const text = formatDuration(Math.abs(distance));
  return `${new Date(seconds * 1000).toISOString().replace('.000', '')} (${distance < 0 ? `${text} ago` : `in ${text}`})`;
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;

/** The two largest units: `6 d 23 h`. */
export function formatDuration(seconds: number): string {
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 && parts.length < 2) parts.push(`${count} ${unit}`);
  }
  return parts.length === 0 ? '0 s' : parts.join(' ');
}
