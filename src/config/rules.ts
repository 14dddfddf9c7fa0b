/** The settings that grant tokens: rules, and the token files that are kept fresh by them. */
import * as v from 'valibot';
import { ALGORITHMS } from '../core/ports.ts';
import { absolutePath, account, audience, duration, flag, mode, singleLine, withDefault } from './scalars.ts';

const MINUTE = 60;
const DAY = 86_400;
const TEXT_LENGTH = 1024;

/** Claims that are Mintmark's own, or mean something to a relying party that a rule must not say. */
const RESERVED_CLAIMS = [
  ...['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'azp', 'act', 'cnf', 'client_id', 'scope'],
  ...['auth_time', 'nonce', 'sid'],
];
/** Those have settings of their own. */
const AWS_CLAIMS = {
  'https://aws.amazon.com/tags': 'principalTags',
  'https://aws.amazon.com/source_identity': 'sourceIdentity',
};

const selector = v.pipe(
  singleLine('A fact about the caller, type:key:value.', TEXT_LENGTH, 'unix:user:web'),
  v.regex(/^[^:]+:[^:]+:[^:]/, 'must have the form type:key:value'),
);

const claims = v.pipe(
  v.record(
    v.pipe(
      singleLine("A claim's name.", 255, 'app_name'),
      v.notValues(RESERVED_CLAIMS, 'is a claim that no rule may set'),
      v.notValues(Object.keys(AWS_CLAIMS), ({ input }) => {
        const setting = AWS_CLAIMS[input as keyof typeof AWS_CLAIMS];
        return `has its own setting: ${setting}`;
      }),
    ),
    v.unknown(),
  ),
  v.description('More claims: any JSON, {fact} variables in its texts.'),
  v.examples([{ app_name: 'web', image_digest: '{docker.image-digest}' }]),
);

/** AWS: at most 50 session tags, keys of 128 characters that differ in more than their case. */
const principalTags = v.pipe(
  v.record(
    singleLine("A tag's name.", 128, 'team'),
    singleLine("A tag's value; {fact} variables are filled in.", 256, 'payments'),
  ),
  v.maxEntries(50, 'has more than the 50 tags that AWS takes'),
  v.check((tags) => {
    const names = Object.keys(tags).map((name) => name.toLowerCase());
    return new Set(names).size === names.length;
  }, 'has two names that differ in case only: AWS takes them for one'),
  v.description('AWS session tags, for callers that ask for them.'),
  v.examples([{ team: 'payments' }]),
);

const subject = singleLine(
  'The `sub` of the token; {fact} variables are filled in, at most 127 bytes.',
  TEXT_LENGTH,
  'acme:web:{host}',
);

const ruleMap = v.strictObject({
  name: singleLine('What the log and refusals call it; unique.', 100, 'web may use AWS'),
  match: v.pipe(
    v.array(selector),
    v.nonEmpty('must name at least one fact: a rule that matches everyone is not taken'),
    v.description('What must be proven of the caller: all of these.'),
  ),
  subject,
  audiences: withDefault(
    v.pipe(
      v.array(audience('An audience, exactly.', 'sts.amazonaws.com')),
      v.description('Whom tokens may be for. None here and no pattern: nobody.'),
    ),
    [],
  ),
  audiencePatterns: withDefault(
    v.pipe(
      v.array(
        audience(
          'An audience in which * stands for any characters but /, and ** for any.',
          'https://*.example.com',
        ),
      ),
      v.description('More audiences, by pattern.'),
    ),
    [],
  ),
  claims: withDefault(claims, {}),
  ttl: withDefault(duration("The token's life.", '10m', MINUTE, DAY), '10m'),
  maxTtl: v.optional(
    duration('The longest life that a caller may ask for; default: ttl.', '1h', MINUTE, DAY),
  ),
  algorithm: withDefault(
    v.pipe(
      v.picklist(ALGORITHMS),
      v.description('How the token is signed. RS256 is the one that every relying party takes.'),
    ),
    'RS256',
  ),
  multipleAudiences: withDefault(flag('One token may be for several audiences.'), false),
  principalTags: v.optional(principalTags),
  transitiveTags: v.optional(
    v.pipe(
      v.array(singleLine("A tag's name.", 128, 'team')),
      v.description('The principalTags that stay through role chaining.'),
    ),
  ),
  sourceIdentity: v.optional(
    singleLine(
      'AWS source identity, in every token of the rule; {fact} variables are filled in.',
      TEXT_LENGTH,
      '{unix.user}',
    ),
  ),
  explain: withDefault(flag('The caller may be told of this rule.'), true),
});

export const ruleSchema = v.pipe(
  ruleMap,
  v.rawCheck(({ dataset, addIssue }) => {
    // Another setting of the rule may be wrong, and those that are not are compared all the same.
    const rule = Object(dataset.value) as Partial<v.InferOutput<typeof ruleMap>>;
    const { ttl, maxTtl, principalTags: tags, transitiveTags = [] } = rule;
    if (typeof ttl === 'number' && typeof maxTtl === 'number' && maxTtl < ttl)
      addIssue({ message: 'is shorter than ttl', path: [pathItem(rule, 'maxTtl')] });
    const unknown = Array.isArray(transitiveTags)
      ? transitiveTags.filter((tag) => !Object.hasOwn(Object(tags), tag))
      : [];
    if (unknown.length > 0)
      addIssue({
        message: `names ${unknown.join(', ')}, which principalTags does not have`,
        path: [pathItem(rule, 'transitiveTags')],
      });
  }),
  v.transform(({ ttl, maxTtl, ...rule }) => ({ ...rule, ttlSeconds: ttl, maxTtlSeconds: maxTtl ?? ttl })),
);

function pathItem(input: Record<string, unknown>, key: string) {
  return { type: 'object' as const, origin: 'value' as const, input, key, value: input[key] };
}

export const tokenFileSchema = v.strictObject({
  path: absolutePath('The file that is kept fresh.', '/run/web/aws-token'),
  audience: audience('The audience of its token.', 'sts.amazonaws.com'),
  owner: account('Who owns the file, and whose token it holds.', 'web'),
  group: v.optional(account("The file's group; default: the owner's.", 'web')),
  mode: withDefault(
    mode(
      'Who may read it, as octal digits in quotes.',
      '0400',
      0o640,
      'lets others at the token: 0640 is the most',
    ),
    '0400',
  ),
  rule: v.optional(singleLine('The rule that grants it.', 100, 'web may use AWS')),
  principalTags: withDefault(flag('Ask for the principal tags of the rule.'), false),
});
