/** The settings of a sidecar: whom it asks, where it listens, which files it keeps. It has no rules and no keys. */
import * as v from 'valibot';
import { adminSchema, DEFAULT_SOCKET, sidecarSocketSchema, statusSchema } from './listeners.ts';
import { attestorsSchema, doorsSchema } from './plugins.ts';
import { absolutePath, audience, duration, flag, mode, notation, withDefault } from './scalars.ts';
import {
  DEFAULT_ATTESTORS,
  DEFAULT_DOORS,
  hostSchema,
  logSchema,
  type Rooms,
  stopWithinSchema,
} from './schema.ts';

const HOUR = 3600;
/** What a file is shown to the pod with: its mount is the boundary. */
const SHARED_MODE = '0444';

const url = notation({
  pattern: /^https:\/\//,
  problem: () => 'must be an https URL such as https://mintmark.mintmark.svc:8443',
  parse: (text) => {
    const parsed = URL.canParse(text) ? new URL(text) : undefined;
    if (parsed?.protocol !== 'https:') throw new RangeError('must be an https URL: tokens go over it');
    if (parsed.username + parsed.password + parsed.search + parsed.hash !== '' || parsed.pathname !== '/')
      throw new RangeError('must have a host and a port only');
    return text;
  },
  description: 'The authority: who decides and signs.',
  examples: ['https://mintmark.mintmark.svc:8443'],
});

const pem = v.pipe(
  v.string(),
  v.regex(/^-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----\s*$/, 'must be certificates in PEM'),
  v.description('The CA that the authority is known by, in PEM.'),
);

const authority = v.pipe(
  v.strictObject({
    url,
    ca: v.optional(pem),
    caFile: v.optional(
      absolutePath('Or the file of it, read again for each connection.', '/etc/mintmark/ca.crt'),
    ),
    tokenFile: withDefault(
      absolutePath("The pod's own projected service account token.", '/var/run/secrets/mintmark/token'),
      '/var/run/secrets/mintmark/token',
    ),
    reuseFloor: withDefault(
      v.union(
        [
          duration(
            'While the authority is away, a token with less life left is not given again.',
            '1m',
            1,
            HOUR,
          ),
          v.literal('off'),
        ],
        'must be a duration such as 1m, or off',
      ),
      '1m',
    ),
    singleUse: withDefault(
      v.pipe(
        v.array(audience('An audience.', 'https://example.com')),
        v.description('Audiences that take each token once: theirs are never given again.'),
      ),
      [],
    ),
  }),
  v.check(({ ca, caFile }) => ca === undefined || caFile === undefined, 'names both ca and caFile'),
  v.description('The authority that decides and signs for this sidecar.'),
);

const tokenFile = v.strictObject({
  path: absolutePath('The file that is kept fresh.', '/run/mintmark/tokens/aws'),
  audience: audience('The audience of its token.', 'sts.amazonaws.com'),
  mode: withDefault(
    mode('Who may read it, as octal digits in quotes.', SHARED_MODE, 0o444, 'may let read only'),
    SHARED_MODE,
  ),
  principalTags: withDefault(flag('Ask for the principal tags of the rule.'), false),
});

const writtenFile = v.strictObject({
  path: absolutePath('The file that is written at the start.', '/run/mintmark/google.json'),
  content: v.pipe(v.string(), v.maxLength(65_536), v.description('What stands in it: nothing secret.')),
});

export function sidecarSchema(rooms: Pick<Rooms, 'attestors' | 'doors'>) {
  return v.strictObject({
    authority,
    host: v.optional(hostSchema),
    socket: withDefault(sidecarSocketSchema, DEFAULT_SOCKET),
    status: withDefault(statusSchema, { listen: '127.0.0.1:9464' }),
    /** Nothing is administrated here; where the socket would lie is no mistake, since an image may say it. */
    admin: v.optional(adminSchema),
    attestors: withDefault(attestorsSchema(rooms.attestors), DEFAULT_ATTESTORS),
    doors: withDefault(doorsSchema(rooms.doors), DEFAULT_DOORS),
    tokens: withDefault(v.pipe(v.array(tokenFile), v.description('Token files that are kept fresh.')), []),
    files: withDefault(
      v.pipe(v.array(writtenFile), v.description('Files beside them, such as credential configurations.')),
      [],
    ),
    log: withDefault(logSchema, {}),
    stopWithin: withDefault(stopWithinSchema, '10s'),
  });
}

export type DecodedSidecar = v.InferOutput<ReturnType<typeof sidecarSchema>>;

export type SidecarConfig = Omit<DecodedSidecar, 'host' | 'status' | 'admin' | 'stopWithin'> & {
  host: string;
  status: Exclude<DecodedSidecar['status'], 'off'> | undefined;
  stopWithinSeconds: number;
};

export function completeSidecar(
  { stopWithin, admin: _, ...decoded }: DecodedSidecar,
  host: string,
): SidecarConfig {
  const { status } = decoded;
  return {
    ...decoded,
    host: decoded.host ?? host,
    status: status === 'off' ? undefined : status,
    stopWithinSeconds: stopWithin,
  };
}
