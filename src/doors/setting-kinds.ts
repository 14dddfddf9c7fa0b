/** The kinds of values in the settings of doors. */
import * as v from 'valibot';

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
const DURATION = /^([1-9]\d{0,6})([smhd])$/;
export const DAY = 86_400;
/** RFC 6749 section 3.3: a scope-token. */
const SCOPE = /^[\x21\x23-\x5B\x5D-\x7E]{1,128}$/;
export const VISIBLE = /^[\x21-\x7E]{1,255}$/;

export function text(form: RegExp, problem: string, description: string, example: string) {
  return v.pipe(v.string(), v.regex(form, problem), v.description(description), v.examples([example]));
}

export function flag(description: string, fallback: boolean) {
  return v.optional(v.pipe(v.boolean(), v.description(description)), fallback);
}

/** A time such as 1h, or whole seconds. */
export function life(description: string, example: string, maxSeconds: number) {
  return v.pipe(
    v.union([
      v.pipe(v.number(), v.integer(), v.minValue(1)),
      text(DURATION, `must be a time such as ${example}`, description, example),
    ]),
    v.transform((given) => {
      if (typeof given === 'number') return given;
      const [, count, unit] = DURATION.exec(given) ?? [];
      return Number(count) * UNITS[unit as keyof typeof UNITS];
    }),
    v.check((seconds) => seconds <= maxSeconds, `must be at most ${maxSeconds} seconds`),
    v.description(description),
  );
}

export const scope = text(SCOPE, 'must be a scope (RFC 6749 section 3.3)', 'A scope.', 'orders.read');
export const scopes = (description: string) => v.pipe(v.array(scope), v.description(description));
export const path = (description: string, example: string) =>
  text(/^\/[^\0]{0,4095}$/, 'must be an absolute path', description, example);
export const audience = text(
  VISIBLE,
  'must be 1 to 255 visible ASCII characters',
  'Its name in `aud`, `resource` and `audience`.',
  'https://orders.example.com',
);
export const clientId = text(VISIBLE, 'must be 1 to 255 visible ASCII characters', 'Its client_id.', 'shop');
export const clientName = v.optional(
  v.pipe(v.string(), v.nonEmpty(), v.maxLength(100), v.description('Its name, for people.')),
);
export const secretHashes = (description: string) =>
  v.optional(
    v.pipe(
      v.array(
        text(
          /^sha256:[A-Za-z0-9_-]{43}$/,
          'must be sha256: and a hash, as `mintmark secret` prints it',
          'The hash of a secret, from `mintmark secret`.',
          'sha256:e5Ud6VMzKs0NsgcNJG3gb7CdUeYS_xF5G1yNJJAD2sw',
        ),
      ),
      v.minLength(1),
      v.maxLength(5),
      v.description(description),
    ),
  );
export const url = (description: string, example: string) =>
  v.pipe(
    v.string(),
    v.check((given) => URL.canParse(given), 'is no URL'),
    v.description(description),
    v.examples([example]),
  );

export const urls = (description: string, example: string) =>
  v.pipe(v.array(url('A URL.', example)), v.description(description));
export const names = (description: string) => v.array(v.pipe(v.string(), v.description(description)));
