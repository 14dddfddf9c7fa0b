/** Where Mintmark listens: the workloads' socket, the public documents, the status pages, the admin socket. */
import * as v from 'valibot';
import {
  absolutePath,
  account,
  count,
  duration,
  flag,
  listenAddress,
  mode,
  singleLine,
  socketPath,
  withDefault,
} from './scalars.ts';

export const DEFAULT_SOCKET = '/run/mintmark/api.sock';
export const DEFAULT_CACHE_SECONDS = 300;
const DAY = 86_400;

const socketMap = (defaultMode: string) =>
  v.pipe(
    v.strictObject({
      path: withDefault(socketPath('Where workloads ask for tokens.', DEFAULT_SOCKET), DEFAULT_SOCKET),
      group: v.optional(account('The group that may connect.', 'workloads')),
      mode: withDefault(
        mode('Who may connect, as octal digits in quotes.', '0660', 0o666, 'may give read and write only'),
        defaultMode,
      ),
      strictPeer: withDefault(
        flag(
          'Refuse callers that the kernel cannot pin, and to start on one without SO_PEERPIDFD (before 6.5).',
        ),
        false,
      ),
      maxConnections: withDefault(count('Open connections in all.', 1, 65_536), 1024),
      maxConnectionsPerUid: withDefault(count('Open connections of one user.', 1, 65_536), 256),
    }),
    v.check(
      ({ maxConnections, maxConnectionsPerUid }) => maxConnectionsPerUid <= maxConnections,
      'lets one user have more connections than all: maxConnectionsPerUid is above maxConnections',
    ),
    v.description('The UNIX socket that workloads ask.'),
  );

function socketUnion(defaultMode: string) {
  const map = socketMap(defaultMode);
  const short = v.pipe(
    socketPath('The UNIX socket that workloads ask; short for { path: … }.', DEFAULT_SOCKET),
    v.transform((path): v.InferInput<typeof map> => ({ path })),
    map,
  );
  return v.union([map, short], 'must be a path or a map');
}

export const socketSchema = socketUnion('0660');
/** In a pod the mount of the socket is the boundary, and its containers have any uid. */
export const sidecarSocketSchema = socketUnion('0666');

/** How the public listener is protected. `names`: what the certificate is made out to. */
export type Tls =
  | { readonly kind: 'none' }
  | { readonly kind: 'files'; readonly certificate: string; readonly key: string }
  | { readonly kind: 'bootstrap'; readonly names: readonly string[] };

const tlsMap = v.pipe(
  v.strictObject({
    certificate: v.optional(
      absolutePath('PEM file of the certificate chain, read again when it changes.', '/etc/mintmark/tls.crt'),
    ),
    key: v.optional(absolutePath('PEM file of its private key.', '/etc/mintmark/tls.key')),
    bootstrap: v.optional(
      v.nullable(
        v.strictObject({
          names: v.optional(
            v.pipe(
              v.array(singleLine('A DNS name or an IP address.', 253, 'id.internal')),
              v.description("What the certificate is made out to; default: the issuer's host."),
            ),
          ),
        }),
        {},
      ),
    ),
  }),
  v.check(
    ({ certificate, key }) => (certificate === undefined) === (key === undefined),
    'names only one of certificate and key: both are needed',
  ),
  v.check(
    ({ certificate, bootstrap }) => (certificate === undefined) !== (bootstrap === undefined),
    'must name either certificate and key, or bootstrap',
  ),
  v.description('A certificate of your own, or one that Mintmark makes for a private network.'),
  v.transform(({ certificate, key, bootstrap }): Tls => {
    if (certificate !== undefined && key !== undefined) return { kind: 'files', certificate, key };
    return { kind: 'bootstrap', names: bootstrap?.names ?? [] };
  }),
);

const tls = v.union(
  [
    tlsMap,
    v.pipe(
      v.literal('bootstrap'),
      v.description('Mintmark makes a CA and a certificate; `mintmark ca` prints the CA.'),
      v.transform((): Tls => ({ kind: 'bootstrap', names: [] })),
    ),
  ],
  'must be bootstrap, or { certificate: …, key: … }; leave it out for plain http',
);

export const publicSchema = v.pipe(
  v.strictObject({
    listen: listenAddress('Where the discovery document and the JWKS are served.', '0.0.0.0:8443'),
    tls: v.optional(tls),
    cacheFor: withDefault(
      duration('How long verifiers may keep the JWKS (Cache-Control: max-age).', '5m', 1, DAY),
      '5m',
    ),
  }),
  v.description('What the world sees: discovery document and JWKS. Without it they are published elsewhere.'),
  v.transform(({ listen, tls: given, cacheFor }) => ({
    listen,
    tls: given ?? { kind: 'none' as const },
    cacheForSeconds: cacheFor,
  })),
);

/** TLS always: service account tokens come in here. */
export const privateSchema = v.pipe(
  v.strictObject({
    listen: listenAddress('Where they come in.', '0.0.0.0:8443'),
    tls,
    // Idle ones of TLS take about 55 KiB each: 220 MiB in all, of the 512 MiB that the chart gives.
    maxConnections: withDefault(count('Open connections in all; each takes about 55 KiB.', 1, 65_536), 4096),
    // A sidecar has one or two, an API server one for each pod that it makes at the moment: 200 at the most.
    maxConnectionsPerAddress: withDefault(
      count('Open connections of one address, which may be that of a whole node.', 1, 65_536),
      256,
    ),
  }),
  v.check(
    ({ maxConnections, maxConnectionsPerAddress }) => maxConnectionsPerAddress <= maxConnections,
    'lets one address have more connections than all: maxConnectionsPerAddress is above maxConnections',
  ),
  v.check(
    ({ tls: given }) => given.kind !== 'bootstrap' || given.names.length > 0,
    'must name what sidecars reach it by: tls: { bootstrap: { names: [mintmark.mintmark.svc] } }',
  ),
  v.description('What sidecars and the Kubernetes API server ask: the doors authority and webhook.'),
);

export const statusSchema = v.union(
  [
    v.pipe(
      v.strictObject({ listen: listenAddress('Where they are served.', '127.0.0.1:9464') }),
      v.description('/metrics, /livez and /readyz.'),
    ),
    v.pipe(v.literal('off'), v.description('No status pages.')),
  ],
  'must be { listen: … } or off',
);

export const adminSchema = v.pipe(
  v.strictObject({
    path: v.optional(
      socketPath(
        'Socket of mode 0600 for the keys commands; default: admin.sock beside the socket.',
        '/run/mintmark/admin.sock',
      ),
    ),
  }),
  v.description('The socket that administrators use.'),
);
