import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { attestors } from '../../src/attestors/index.ts';
import { KEPT } from '../../src/config/paths.ts';
import { ConfigError, loadConfig, loadSidecar } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { problemsOf } from './tables.ts';

test('a token file overwrites nothing that is read or kept', async () => {
  const paths = [
    '/etc/kek',
    '/keys/ring.sealed',
    '/etc/tls.key',
    '/run/a.sock.lock',
    resolve('mintmark.yaml'),
  ];
  const entries = paths.map((path) => `  - { path: ${path}, audience: a, owner: web }`);
  const text = `issuer: https://id.example.com
socket: /run/a.sock
public: { listen: 127.0.0.1:8443, tls: { certificate: /etc/tls.crt, key: /etc/tls.key } }
keys: { store: { file: /keys }, encryption: { file: /etc/kek } }
tokens:
${entries.join('\n')}
`;
  const problems = (await problemsOf(text)).filter((line) => line.includes('tokens'));
  assert.deepEqual(
    problems.map((line) => line.replace(/^.*?: /, '')),
    [
      'tokens[0].path: is a path of keys.encryption.file',
      'tokens[1].path: is a path of keys.store',
      'tokens[2].path: is a path of public.tls',
      'tokens[3].path: is a path of the lock of socket.path',
      'tokens[4].path: is a path of the configuration',
    ],
  );
});

test('a token file overwrites nothing that is read or kept, whatever links lead there', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'mintmark-paths-'));
  t.after(() => rm(directory, { recursive: true }));
  const at = (name: string) => join(directory, name);
  await mkdir(at('real/ring'), { recursive: true });
  await writeFile(at('real/kek'), '');
  await symlink(at('real'), at('link'));
  await symlink(at('real/kek'), at('kek'));
  const faultsOf = async (kept: string, path: string) =>
    (
      await problemsOf(`issuer: https://id.example.com
keys: { store: { file: ${at('link/ring')} }, encryption: { file: ${at(kept)} } }
tokens: [{ path: ${at(path)}, audience: a, owner: web }]`)
    ).flatMap((line) => /tokens\[0\]\.path: (.*)/.exec(line)?.[1] ?? []);
  const kek = ['is a path of keys.encryption.file'];
  assert.deepEqual(await faultsOf('link/kek', 'real/kek'), kek);
  assert.deepEqual(await faultsOf('real/kek', 'link/kek'), kek);
  assert.deepEqual(await faultsOf('kek', 'real/kek'), kek);
  assert.deepEqual(await faultsOf('link/kek', 'kek'), kek);
  assert.deepEqual(await faultsOf('kek', 'kek'), kek);
  assert.deepEqual(await faultsOf('kek', 'real/ring/new/file'), ['is a path of keys.store']);
  assert.deepEqual(await faultsOf('kek', 'link/other'), []);
});

test('nor is it written first, under its temporary name, where something is kept or another is written', async () => {
  const told = await faultsOf(
    loadConfig,
    `issuer: https://id.example.com
socket: /run/.d.new
keys: { store: memory, encryption: { file: /x/.awsk.new } }
tokens:
${['/x/awsk', '/x/b', '/x/.b.new', '/run/d', '/run/.aws.env.new']
  .map((path) => `  - { path: ${path}, audience: a, owner: web }`)
  .join('\n')}`,
  );
  assert.deepEqual(told.sort(), [
    'socket.path is where tokens[3].path is written first',
    'tokens[0].path is written as .awsk.new beside it first, a path of keys.encryption.file',
    'tokens[2].path is where tokens[1].path is written first',
    'tokens[4].path is a path of aws.env beside socket.path',
  ]);
});

const KEPT_SETTINGS = `issuer: https://id.example.com
socket: /run/a.sock
keys: { store: { postgres: { urlFile: /f/1, tls: { ca: /f/2 } } } }
records: { sqlite: /f/3 }
attestors: { unix: {}, docker: { socket: /f/4 }, jwt: { issuers: {
  a: { issuer: https://a.example.com, jwksFile: /f/5 },
  b: { issuer: https://b.example.com, caFile: /f/6 } } } }
private: { listen: 127.0.0.1:8444, tls: { certificate: /f/7, key: /f/8 } }
tokens:
`;

test('nor does it overwrite a file that a plug-in reads, what SQLite has beside its own, or aws.env', async () => {
  const paths = ['/f/1', '/f/2', '/f/3', '/f/3-wal', '/f/4', '/f/5', '/f/6', '/f/8', '/run/aws.env'];
  const entries = paths.map((path) => `  - { path: ${path}, audience: a, owner: web }`);
  const told = await faultsOf(loadConfig, KEPT_SETTINGS + entries.join('\n'));
  assert.deepEqual(
    told.map((line) => /^tokens\S+ is a path of (.*)$/.exec(line)?.[1] ?? line),
    [
      ...['keys.store', 'keys.store', 'records', 'records', 'attestors.docker.socket'],
      ...['attestors.jwt.issuers.a.jwksFile', 'attestors.jwt.issuers.b.caFile', 'private.tls'],
      'aws.env beside socket.path',
    ],
  );
});

test('nor do token files and files of a sidecar what it reads itself, or each other', async () => {
  const told = await faultsOf(
    loadSidecar,
    `socket: /run/a.sock
authority: { url: https://a.example:8443, caFile: /f/1, tokenFile: /f/2 }
tokens: [{ path: /f/1, audience: a }, { path: /f/3, audience: a }]
files: [{ path: /f/2, content: x }, { path: /f/3, content: x }]`,
  );
  assert.deepEqual(told, [
    'tokens[0].path is a path of authority.caFile',
    'files[0].path is a path of authority.tokenFile',
    'files[1].path is the path of tokens[1].path too',
  ]);
});

const tables = { attestors, doors, stores, records: recordStores };

async function faultsOf(load: typeof loadConfig | typeof loadSidecar, text: string): Promise<string[]> {
  try {
    await load({ text, env: {}, tables });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ path, message }) => `${path} ${message}`);
  }
}

test('every setting that names a file is among those that are kept', async () => {
  const schema = JSON.parse(await readFile('mintmark.schema.json', 'utf8'));
  const known = KEPT.map(([setting]) => setting);
  const settings = [...new Set(pathSettings(schema, []))].map((setting) =>
    setting.replace(/^(keys\.store|records)\.(?:file|sqlite|postgres)/, '$1.block'),
  );
  assert.ok(settings.length > 15, settings.join());
  const others = [
    'doors.aws-sso-oidc.path',
    'socket',
    'socket.path',
    'admin.path',
    'tokens.*.path',
    'attestors.docker.cgroupParents.*',
  ];
  const isKnown = (setting: string) =>
    known.some(
      (each) => each === setting || (each.endsWith('.*') && `${setting.replace(/\w+$/, '')}*` === each),
    );
  assert.deepEqual(
    settings.filter((setting) => !isKnown(setting) && !others.includes(setting)),
    [],
  );
});

/** By the pattern: it takes an absolute path, and neither a name nor an address of a listener. */
function pathSettings(schema: unknown, at: readonly string[]): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const { pattern } = schema as { readonly pattern?: unknown };
  if (typeof pattern === 'string') {
    const isMatch = (text: string) => new RegExp(pattern, 'u').test(text);
    return isMatch('/a/b') && !['a', 'a:1', '1m', '/'].every(isMatch) && !isMatch('a') ? [at.join('.')] : [];
  }
  const inner = (part: Readonly<Record<string, unknown>>) =>
    Object.entries(part).flatMap(([key, value]) => {
      if (key === 'properties')
        return Object.entries(value as object).flatMap(([name, each]) => pathSettings(each, [...at, name]));
      if (key === 'anyOf') return (value as readonly unknown[]).flatMap((each) => pathSettings(each, at));
      return key === 'items' || key === 'additionalProperties' ? pathSettings(value, [...at, '*']) : [];
    });
  return inner(schema as Readonly<Record<string, unknown>>);
}
