/** The settings of the stores in PostgreSQL, and the connection that they come to. No password goes into a message. */
import fs, { constants } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';

/** A text that is printed without its password. */
export type HiddenUrl = { readonly text: () => string; readonly toJSON: () => string };

const path = (description: string) =>
  v.pipe(v.string(), v.regex(/^\/./, 'must be an absolute path'), v.description(description));

const url = v.pipe(
  v.string(),
  v.description(
    'postgres://USER:PASSWORD@HOST:PORT/DATABASE. TLS with a verified certificate, unless the host is this machine or ?sslmode=disable is added. A UNIX socket: postgres://USER@%2Frun%2Fpostgresql/DATABASE.',
  ),
  v.examples(['postgres://mintmark@db.internal/mintmark']),
  v.rawTransform<string, HiddenUrl>(({ dataset, addIssue, NEVER }) => {
    const text = dataset.value;
    const parsed = parseUrl(text);
    if (typeof parsed !== 'string') return { text: () => text, toJSON: () => maskPassword(text) };
    addIssue({ message: parsed });
    return NEVER;
  }),
);

export const config = v.pipe(
  v.strictObject({
    url: v.optional(url),
    urlFile: v.optional(path('File that holds the URL; read again for each connection.')),
    schema: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^[a-z_][a-z0-9_]{0,62}$/, 'must be made of a-z, 0-9 and _'),
        v.description('Schema of the tables; made where there is none. Default: mintmark.'),
      ),
      'mintmark',
    ),
    maxConnections: v.optional(
      v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1000), v.description('Default: 10.')),
      10,
    ),
    tls: v.optional(
      v.pipe(
        v.strictObject({
          ca: v.optional(path("CA certificates in PEM; default: the system's.")),
          certificate: v.optional(path('Our own certificate in PEM.')),
          key: v.optional(path('Its private key in PEM.')),
        }),
        v.check(
          ({ certificate, key }) => (certificate === undefined) === (key === undefined),
          'must name both certificate and key, or neither',
        ),
        v.description('TLS, also where the URL would not ask for it.'),
      ),
    ),
  }),
  v.check(
    (block) => (block.url === undefined) !== (block.urlFile === undefined),
    'must name either url or urlFile',
  ),
);

export type PostgresBlock = v.InferOutput<typeof config>;

type Target = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly isEncrypted: boolean;
  readonly ca: string | undefined;
};

/** What pg takes. The password is asked for at each connection, since the file may have another one by then. */
export type Connection = Omit<Target, 'password' | 'isEncrypted' | 'ca'> & {
  readonly password: () => Promise<string>;
  readonly ssl: ConnectionOptions | false;
  /** For messages. */
  readonly label: string;
};

/** Reads the files that the block names. Throws `server_error`. */
export async function loadConnection(block: PostgresBlock): Promise<Connection> {
  const { password: _, isEncrypted, ca, ...rest } = await loadTarget(block);
  return {
    ...rest,
    password: async () => (await loadTarget(block)).password,
    // PostgreSQL speaks no TLS through a UNIX socket.
    ssl: !isSocket(rest.host) && (isEncrypted || block.tls !== undefined) ? await loadTls(block, ca) : false,
    label: `PostgreSQL ${rest.host}:${rest.port}/${rest.database}`,
  };
}

async function loadTarget({ url, urlFile }: PostgresBlock): Promise<Target> {
  const text = urlFile === undefined ? (url?.text() ?? '') : (await readText(urlFile)).trim();
  const target = parseUrl(text);
  if (typeof target !== 'string') return target;
  throw new IssuerError('server_error', `the URL of PostgreSQL in ${urlFile ?? 'url'} ${target}`);
}

async function loadTls({ tls = {} }: PostgresBlock, urlCa: string | undefined): Promise<ConnectionOptions> {
  const ca = tls.ca ?? urlCa;
  return {
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca: await readText(ca) }),
    ...(tls.certificate !== undefined && { cert: await readText(tls.certificate) }),
    ...(tls.key !== undefined && { key: await readText(tls.key) }),
  };
}

async function readText(path: string): Promise<string> {
  try {
    // A pipe that nobody writes to would hold up the start.
    return await fs.readFile(path, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NONBLOCK });
  } catch (error) {
    throw new IssuerError('server_error', `PostgreSQL: ${(error as Error).message}`, { cause: error });
  }
}

const PARAMETERS = ['host', 'sslmode', 'sslrootcert'];
/** pg takes them so too: none of them connects to whom it does not know. */
const VERIFYING = ['require', 'verify-ca', 'verify-full'];

/** What is wrong with it, as a text without any of it; else what it says. */
function parseUrl(text: string): Target | string {
  if (!/^postgres(?:ql)?:\/\//.test(text) || !URL.canParse(text))
    return 'must be postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters';
  const { username, password, hostname, port, pathname, searchParams } = new URL(text);
  const unknown = [...searchParams.keys()].find((name) => !PARAMETERS.includes(name));
  if (unknown !== undefined) return `has a parameter that is not known; there are ${PARAMETERS.join(', ')}`;
  const mode = searchParams.get('sslmode');
  if (mode !== null && mode !== 'disable' && !VERIFYING.includes(mode))
    return `has an sslmode other than disable and ${VERIFYING.join(', ')}`;
  try {
    const host = (searchParams.get('host') ?? decodeURIComponent(hostname)).replace(/^\[(.*)\]$/, '$1');
    const database = decodeURIComponent(pathname.slice(1));
    const user = decodeURIComponent(username);
    if (user === '' || host === '' || database === '') return 'must name a user, a host and a database';
    if (host.includes(',')) return 'must name one host';
    return {
      host,
      port: Number(port === '' ? 5432 : port),
      user,
      password: decodeURIComponent(password),
      database,
      isEncrypted: mode === null ? !isThisMachine(host) : mode !== 'disable',
      ca: searchParams.get('sslrootcert') ?? undefined,
    };
  } catch {
    return 'has a % that is not followed by two hexadecimal digits';
  }
}

const isSocket = (host: string): boolean => host.startsWith('/');

function isThisMachine(host: string): boolean {
  return isSocket(host) || host === 'localhost' || host === '::1' || /^127\.[\d.]+$/.test(host);
}

function maskPassword(text: string): string {
  const masked = new URL(text);
  if (masked.password !== '') masked.password = '...';
  return masked.href;
}
