/** The settings of the issuers whose tokens are believed. */
import * as v from 'valibot';
import { ABSOLUTE_PATH } from '../core/path-pattern.ts';
import { urlFault } from './jwks-fetch.ts';
import { hasPrivateKeys, parseKeySet, VERIFIABLE } from './jwt-keys.ts';

/** The name of our own issuer, whose keys are the ring's. */
export const SELF = 'self';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const CLAIM = /^[A-Za-z_][A-Za-z0-9_.-]{0,62}$/;
const DAY = 86_400;

const printable = (description: string, longest: number) =>
  v.pipe(
    v.string(),
    v.maxLength(longest),
    v.regex(/^[!-~]+$/, 'must be printable ASCII without blanks'),
    v.description(description),
  );

const absolutePath = (description: string) =>
  v.pipe(
    v.string(),
    v.regex(ABSOLUTE_PATH, 'must be an absolute path in normal form'),
    v.description(description),
  );

const claimName = v.pipe(
  v.string(),
  v.regex(CLAIM, 'must be letters, digits and _ . - (give another { name, path })'),
  v.description('The name of a claim.'),
);

const claim = v.union(
  [
    claimName,
    v.strictObject({
      name: v.pipe(claimName, v.description('What rules call it.')),
      path: v.pipe(
        v.array(v.pipe(v.string(), v.nonEmpty(), v.maxLength(255), v.description('A name on the way.'))),
        v.minLength(1),
        v.maxLength(8),
        v.description('Where it is, from the outside in: [kubernetes.io, namespace].'),
      ),
    }),
  ],
  'must be the name of a claim, or { name, path }',
);

const keySet = v.pipe(
  v.looseObject({ keys: v.pipe(v.array(v.looseObject({})), v.description('JWKs, public parts only.')) }),
  v.rawCheck(({ dataset, addIssue }) => {
    const fault = dataset.typed ? keySetFault(dataset.value) : undefined;
    if (fault !== undefined) addIssue({ message: fault });
  }),
  v.description('The keys themselves, a JWK Set.'),
);

const seconds = (description: string, least: number, most: number) =>
  v.pipe(v.number(), v.minValue(least), v.maxValue(most), v.description(description));

const trustDomain = v.pipe(
  v.string(),
  v.maxLength(255),
  v.regex(/^[a-z0-9._-]+$/, 'must be the name alone, of a-z, 0-9 and . - _'),
  v.description('The SPIFFE trust domain of its tokens (JWT-SVIDs), which then need no `iss`.'),
);

const issuer = v.strictObject({
  issuer: v.optional(
    printable('The `iss` of its tokens, exactly. All but `self` and a trust domain have one.', 2048),
  ),
  trustDomain: v.optional(trustDomain),
  jwksUri: v.optional(printable('Where its keys are; default: where its discovery document says.', 2048)),
  jwksFile: v.optional(absolutePath('Or the file of its keys, read again when it changes.')),
  jwks: v.optional(keySet),
  caFile: v.optional(absolutePath('The CA of its server in PEM, in place of the public ones.')),
  allowPrivate: v.optional(
    v.pipe(v.boolean(), v.description('Its server may be on loopback or in a private network.')),
    false,
  ),
  algorithms: v.optional(
    v.pipe(
      v.array(v.pipe(v.picklist(VERIFIABLE), v.description('A JWS algorithm.'))),
      v.minLength(1),
      v.description('How its tokens may be signed.'),
    ),
    ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
  ),
  types: v.optional(
    v.pipe(
      v.array(printable('A media type, without application/.', 255)),
      v.minLength(1),
      v.description('The `typ` that its tokens may have; JWT stands for none at all too.'),
    ),
    ['JWT'],
  ),
  claims: v.optional(
    v.pipe(
      v.array(claim),
      v.maxLength(100),
      v.description('Claims that rules may match; no others are looked at.'),
    ),
    [],
  ),
  maxAgeSeconds: v.optional(
    seconds('How far from now a token may have begun and may end, in seconds.', 60, 366 * DAY),
    DAY,
  ),
  clockSkewSeconds: v.optional(seconds('How far its clock may be ahead of ours.', 0, 300), 60),
});

export type IssuerSettings = v.InferOutput<typeof issuer>;

export const config = v.strictObject({
  issuers: v.pipe(
    v.record(
      v.pipe(
        v.string(),
        v.regex(NAME, 'must be letters, digits and _ . -'),
        v.description('What rules call it.'),
      ),
      issuer,
    ),
    v.minEntries(1, 'must name at least one issuer'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const { value } = dataset;
      for (const { name, key, message } of faultsOf(value)) {
        const input = Object(value[name]);
        addIssue({
          message,
          path: [
            { type: 'object', origin: 'value', input: value, key: name, value: input },
            { type: 'object', origin: 'value', input, key, value: input[key] },
          ],
        });
      }
    }),
    v.description('Issuers whose tokens prove who somebody is, by the name that rules call them.'),
  ),
});

export type JwtSettings = v.InferOutput<typeof config>;

function keySetFault(value: unknown): string | undefined {
  if (hasPrivateKeys(value)) return 'has a private or secret key: that key is to be thrown away now';
  try {
    parseKeySet(value);
    return undefined;
  } catch (error) {
    return (error as RangeError).message.replace(/^it /, '');
  }
}

type Fault = { readonly name: string; readonly key: string; readonly message: string };

/** What settings of an issuer say about each other. */
function faultsOf(issuers: JwtSettings['issuers']): readonly Fault[] {
  const seen = new Map<string, string>();
  return Object.entries(issuers).flatMap(([name, each]) => {
    const fault = (key: keyof IssuerSettings, message: string): Fault[] => [{ name, key, message }];
    if (name === SELF) return OF_OTHERS.filter((key) => each[key]).flatMap((key) => fault(key, IS_SELF));
    if (each.issuer === undefined && each.trustDomain === undefined)
      return fault('issuer', `must say the iss of its tokens (only ${SELF}, our own issuer, has none)`);
    for (const key of ['issuer', 'trustDomain'] as const) {
      const { [key]: value } = each;
      if (value === undefined) continue;
      const twin = seen.get(value);
      if (twin !== undefined) return fault(key, `is that of ${twin} too`);
      seen.set(value, name);
    }
    return sourceFaults(each, fault);
  });
}

const OF_OTHERS = ['issuer', 'trustDomain', 'jwksUri', 'jwksFile', 'jwks', 'caFile', 'allowPrivate'] as const;
const IS_SELF = `is known of ${SELF}, our own issuer`;

function sourceFaults(
  settings: IssuerSettings,
  fault: (key: keyof IssuerSettings, message: string) => Fault[],
): Fault[] {
  const { jwksUri, jwksFile, jwks, allowPrivate, caFile } = settings;
  const [, second] = (['jwks', 'jwksUri', 'jwksFile'] as const).filter((key) => settings[key] !== undefined);
  if (second !== undefined) return fault(second, 'is one place of keys too many');
  if ((jwks ?? jwksFile) !== undefined) {
    const idle = [caFile === undefined ? [] : ['caFile'], allowPrivate ? ['allowPrivate'] : []].flat();
    return idle.flatMap((key) => fault(key as keyof IssuerSettings, 'has no use: nothing is fetched'));
  }
  if (settings.issuer === undefined && jwksUri === undefined)
    return fault(
      'trustDomain',
      'needs a place of its keys beside it (jwksUri, jwksFile, jwks), or an issuer',
    );
  const key = jwksUri === undefined ? 'issuer' : 'jwksUri';
  const url = settings[key] ?? '';
  const wrong = urlFault(url) ?? (key === 'issuer' && url.includes('?') ? 'must have no query' : undefined);
  if (wrong !== undefined)
    return fault(
      key,
      key === 'issuer' ? `${wrong}, or its keys a place of their own (jwksUri, jwksFile, jwks)` : wrong,
    );
  if (url.startsWith('http:') && !allowPrivate)
    return fault('allowPrivate', 'must be true for http on loopback');
  return [];
}
