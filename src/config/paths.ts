/** What settings say of files: a token file is replaced at its path, so that nothing that is read or kept may be there. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { temporaryName } from '../core/temporary-name.ts';
import { formatPath, type Path } from './problems.ts';

/** A setting that names a file or a directory which is read or kept, and how it is called; `*` stands for any key or index. */
export const KEPT: readonly (readonly [setting: string, name?: string])[] = [
  ['attestors.docker.socket'],
  ['attestors.jwt.issuers.*.caFile'],
  ['attestors.jwt.issuers.*.jwksFile'],
  ['authority.caFile'],
  ['authority.tokenFile'],
  ['doors.aws-sso-oidc.iam.credentials.*.secretFile'],
  ['doors.oauth.clients.*.secretFile'],
  ['doors.oauth.people.identityProviders.*.clientSecretFile'],
  ['doors.oauth.registration.accessTokenFile'],
  ['doors.webhook.caFile'],
  ['issuers.*.oauth.clients.*.secretFile'],
  ['issuers.*.oauth.people.identityProviders.*.clientSecretFile'],
  ['issuers.*.oauth.registration.accessTokenFile'],
  ['keys.encryption.file'],
  ['keys.store.block', 'keys.store'],
  ['keys.store.block.path', 'keys.store'],
  ['keys.store.block.urlFile', 'keys.store'],
  ['keys.store.block.tls.*', 'keys.store'],
  ['private.tls.*', 'private.tls'],
  ['public.tls.*', 'public.tls'],
  ['records.block', 'records'],
  ['records.block.path', 'records'],
  ['records.block.urlFile', 'records'],
  ['records.block.tls.*', 'records'],
];

/** What SQLite has beside its file. */
const BESIDE_RECORDS = ['-journal', '-shm', '-wal'];

const AWS_ENV = 'aws.env';

type Named = {
  readonly socket?: { readonly path: string } | undefined;
  readonly admin?: { readonly path?: string | undefined } | undefined;
  readonly tokens?: readonly { readonly path: string }[];
  readonly files?: readonly { readonly path: string }[];
};
export type PathFault = { readonly path: Path; readonly message: string };
type Place = { readonly name: string; readonly path: string };

/** Default: beside the socket. */
export function adminPath({ admin, socket }: Named): string | undefined {
  return admin?.path ?? (socket && `${dirname(socket.path).replace(/\/$/, '')}/admin.sock`);
}

/** No two settings may name the same file, nor one that is written what is kept. `file` is the configuration's own. */
export function pathFaults(decoded: Named, file?: string): readonly PathFault[] {
  const { socket, tokens = [], files = [] } = decoded;
  const admin = adminPath(decoded);
  const written = [
    ...tokens.map(({ path }, index) => ({ at: ['tokens', index, 'path'], path })),
    ...files.map(({ path }, index) => ({ at: ['files', index, 'path'], path })),
  ];
  const kept = keptPlaces(decoded, file);
  const listening = [
    { at: ['socket', 'path'], path: socket?.path },
    { at: ['admin', 'path'], path: admin },
  ];
  return [
    ...written.flatMap((each) => overwrites(each, kept)),
    ...coincidences([...listening, ...written], written),
  ];
}

type Setting = { readonly at: Path; readonly path: string };

/** A file is written beside its path first, and whatever lies there is removed. */
function overwrites({ at, path }: Setting, kept: readonly Place[]): readonly PathFault[] {
  const found = (name: string) => {
    const own = spellings(name);
    return kept.find((other) => own.some((each) => isWithin(each, other.path)))?.name;
  };
  const itself = found(path);
  if (itself !== undefined) return [{ path: at, message: `is a path of ${itself}` }];
  const first = found(temporaryPath(path));
  const beside = temporaryName(basename(path));
  return first === undefined
    ? []
    : [{ path: at, message: `is written as ${beside} beside it first, a path of ${first}` }];
}

/** Each is told of where it comes second. */
function coincidences(
  all: readonly { readonly at: Path; readonly path: string | undefined }[],
  written: readonly Setting[],
): readonly PathFault[] {
  const faults: PathFault[] = [];
  const taken = new Map<string, string>();
  const first = new Map(
    written.flatMap(({ at, path }) =>
      spellings(temporaryPath(path)).map((each) => [each, formatPath(at)] as const),
    ),
  );
  for (const { at, path } of all) {
    if (path === undefined) continue;
    const own = spellings(path);
    const among = (places: ReadonlyMap<string, string>) =>
      own.map((each) => places.get(each)).find((each) => each !== undefined);
    const [other, later] = [among(taken), among(first)];
    if (other !== undefined) faults.push({ path: at, message: `is the path of ${other} too` });
    if (later !== undefined) faults.push({ path: at, message: `is where ${later} is written first` });
    for (const each of own) if (!taken.has(each)) taken.set(each, formatPath(at));
  }
  return faults;
}

function keptPlaces(decoded: Named, file: string | undefined): readonly Place[] {
  const { socket } = decoded;
  const admin = adminPath(decoded);
  const named = KEPT.flatMap(([setting, name]) => placesOf(decoded, setting.split('.'), name));
  const places = [
    ...(file === undefined ? [] : [{ name: 'the configuration', path: file }]),
    ...named,
    ...named
      .filter(({ name }) => name === 'records')
      .flatMap(({ name, path }) => BESIDE_RECORDS.map((end) => ({ name, path: `${path}${end}` }))),
    ...(socket === undefined
      ? []
      : [
          { name: 'the lock of socket.path', path: `${socket.path}.lock` },
          ...[AWS_ENV, temporaryName(AWS_ENV)].map((name) => ({
            name: 'aws.env beside socket.path',
            path: join(dirname(socket.path), name),
          })),
        ]),
    ...(admin === undefined ? [] : [{ name: 'the lock of admin.path', path: `${admin}.lock` }]),
  ];
  return places.flatMap(({ name, path }) => spellings(path).map((each) => ({ name, path: each })));
}

/** The absolute paths at a setting. */
function placesOf(
  value: unknown,
  [key, ...deeper]: readonly string[],
  name?: string,
  at: Path = [],
): Place[] {
  if (key === undefined)
    return typeof value === 'string' && value.startsWith('/')
      ? [{ name: name ?? formatPath(at), path: value }]
      : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value)
    .filter(([each]) => key === '*' || each === key)
    .flatMap(([each, inner]) =>
      placesOf(inner, deeper, name, [...at, Array.isArray(value) ? Number(each) : each]),
    );
}

const temporaryPath = (path: string): string => join(dirname(path), temporaryName(basename(path)));

const isWithin = (path: string, other: string) => `${path}/`.startsWith(`${other}/`);

/** Where it is without the symbolic links above it, and where it leads if it is one itself. */
function spellings(path: string): readonly string[] {
  return [...new Set([join(realPath(dirname(path)), basename(path)), realPath(path)])];
}

/** What is not there yet is below the nearest directory that is. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(realPath(dirname(path)), basename(path));
  }
}
