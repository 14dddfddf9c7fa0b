/** How long and how often, and what is asked. */
import { buildRequest } from './load.ts';
import { audienceOf } from './program.ts';

export const isQuick = process.argv.includes('--quick');
export const ROUNDS = isQuick ? 3 : 5;
export const SECONDS = isQuick ? 0.25 : 2;
export const WARM_UP_SECONDS = isQuick ? 1 : 3;
export const STARTS = isQuick ? 3 : 10;
export const TOKENS = isQuick ? 40_000 : 1_000_000;
export const STEPS = 4;
export const IDLE_MS = 3_000;
/** Growth up to this over the second half of the tokens is called flat. */
export const FLAT_MIB = 4;
export const MANY = 16;
export const JWKS = buildRequest('GET', '/.well-known/jwks');

export const requestFor = (algorithm: string): Buffer =>
  buildRequest('POST', '/v1/tokens/oidc', JSON.stringify({ aud: audienceOf(algorithm) }));

export function tell(what: string): void {
  process.stderr.write(`measuring ${what} …\n`);
}
