import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { attestors } from '../src/attestors/index.ts';
import {
  describeConfig,
  describeSidecar,
  effectiveSettings,
  loadConfig,
  loadSidecar,
} from '../src/config.ts';
import { doors } from '../src/doors/index.ts';
import { stores } from '../src/stores/index.ts';
import { recordStores } from '../src/stores/records.ts';
import { load, loadedPlugins, MINIMAL, tables } from './config/tables.ts';

const EXAMPLE = new URL('../mintmark.example.yaml', import.meta.url);

test('a file that only just suffices gets every default', async () => {
  const { config, warnings } = await load(MINIMAL);
  assert.deepEqual(warnings, []);
  assert.deepEqual(config, {
    issuer: 'https://id.example.com',
    issuers: {},
    records: undefined,
    development: false,
    host: 'web-1',
    socket: {
      path: '/run/mintmark/api.sock',
      mode: 0o660,
      strictPeer: false,
      maxConnections: 1024,
      maxConnectionsPerUid: 256,
    },
    private: undefined,
    public: { listen: { host: '127.0.0.1', port: 8080 }, tls: { kind: 'none' }, cacheForSeconds: 300 },
    status: { listen: { host: '127.0.0.1', port: 9464 } },
    admin: { path: '/run/mintmark/admin.sock' },
    keys: {
      store: { name: 'memory', block: {} },
      encryption: undefined,
      rotateEverySeconds: 604_800,
      publishAtLeastSeconds: 86_400,
    },
    attestors: { unix: { hashTimeoutSeconds: 5 } },
    doors: { fly: {} },
    rules: [
      {
        name: 'web',
        match: ['unix:user:web'],
        subject: 'web',
        audiences: ['sts.amazonaws.com'],
        audiencePatterns: [],
        claims: {},
        ttlSeconds: 600,
        maxTtlSeconds: 600,
        algorithm: 'RS256',
        multipleAudiences: false,
        explain: true,
      },
    ],
    tokens: [],
    log: { level: 'info' },
    stopWithinSeconds: 10,
  });
});

test('a configuration is frozen to its depth', async () => {
  const { config } = await load(MINIMAL);
  assert.throws(() => Object.assign(config.rules[0] as object, { name: 'x' }), TypeError);
  assert.throws(() => (config.rules[0]!.match as string[]).push('x'), TypeError);
  assert.throws(() => Object.assign(config.attestors.unix as object, { x: 1 }), TypeError);
});

test('short forms and account numbers', async () => {
  const { config } = await load(`${MINIMAL.replace('8080 }', '8080, tls: bootstrap }')}
socket: /run/a/api.sock
status: off
tokens: [{ path: /run/t, audience: a, owner: 998, mode: "0440" }]
`);
  assert.equal(config.socket.path, '/run/a/api.sock');
  assert.equal(config.admin.path, '/run/a/admin.sock');
  assert.equal(config.status, undefined);
  assert.deepEqual(config.public?.tls, { kind: 'bootstrap', names: ['id.example.com'] });
  assert.equal(config.tokens[0]?.owner, '998');
  assert.equal(config.tokens[0]?.mode, 0o440);
});

test('only what is configured is loaded, and a block may be empty', async () => {
  loadedPlugins.length = 0;
  const { config } = await load(`${MINIMAL}attestors:\n  unix:\ndoors: {}\n`);
  assert.deepEqual(loadedPlugins, ['unix', 'memory']);
  assert.deepEqual(config.attestors, { unix: { hashTimeoutSeconds: 5 } });
  assert.deepEqual(config.doors, {});
});

test('what is allowed and rarely meant is a warning', async () => {
  const { warnings } = await load(`issuer: https://id.example.com:8443
public: { listen: "[::]:8443" }
keys: { store: { file: /var/lib/mintmark } }
rules:
  - { name: a, match: [unix:user:web], subject: a }
  - { name: b, match: [unix:user:web], subject: b, audiencePatterns: ["**"] }
`);
  assert.equal(warnings.length, 4);
  assert.match(warnings[0] ?? '', /^issuer: has a port/);
  assert.match(warnings[1] ?? '', /^public\.tls: .*proxy/);
  assert.match(warnings[2] ?? '', /^rules\[0\]\.audiences: .*nobody/);
  assert.match(warnings[3] ?? '', /^rules\[1\]\.audiencePatterns: .*any audience/);
  const unpublished = await load('issuer: https://id.example.com\nkeys: { store: memory }\n');
  assert.deepEqual(
    unpublished.warnings.map((warning) => warning.split(':')[0]),
    ['public', 'rules'],
  );
});

test('a development issuer publishes its keys for twice what caches keep them', async () => {
  const { config } = await load(
    MINIMAL.replace('https://id.example.com', 'http://localhost:8080').replace(
      '8080 }',
      '8080, cacheFor: 30s }',
    ),
  );
  assert.equal(config.development, true);
  assert.equal(config.keys.publishAtLeastSeconds, 60);
});

test('what is found later is told with its line too', async () => {
  const { reject } = await load(MINIMAL);
  const error = reject([{ path: 'rules[0].subject', message: 'is empty' }]);
  assert.equal(error.format(), 'mintmark.yaml:5: rules[0].subject: is empty');
});

test('an audience with a star that is taken exactly was rarely meant so', async () => {
  const text = MINIMAL.replace('[sts.amazonaws.com]', '["https://*"]');
  const { warnings } = await load(text);
  assert.deepEqual(warnings, [
    'rules[0].audiences: "https://*" is taken exactly, its * too: did you mean audiencePatterns?',
  ]);
});

test('the effective configuration is a file that says the same', async () => {
  for (const text of [MINIMAL, `${MINIMAL}status: off\ntokens: [{ path: /t, audience: a, owner: web }]\n`]) {
    const { config } = await load(text);
    assert.deepEqual((await load(describeConfig(config))).config, config);
    assert.deepEqual((await load(describeConfig(config, 'json'))).config, config);
    assert.equal(effectiveSettings(config).stopWithin, '10s');
  }
});

test("a sidecar's effective configuration is a file that says the same", async () => {
  const real = { attestors, doors, stores, records: recordStores };
  const read = (text: string) => loadSidecar({ text, env: {}, tables: real, host: 'web-1' });
  const url = 'https://mintmark.mintmark.svc:8443';
  for (const text of [
    `authority: { url: "${url}" }`,
    `authority: { url: "${url}", reuseFloor: 'off', caFile: /f/ca, singleUse: [a] }
attestors: { unix: { hashTimeoutSeconds: 7 }, docker: { timeoutSeconds: 2 } }
doors: { fly: { audience: https://example.com } }
status: 'off'
tokens: [{ path: /t/aws, audience: sts.amazonaws.com, mode: "0440" }]
files: [{ path: /t/google.json, content: "{}" }]
stopWithin: 3s`,
  ]) {
    const { config } = await read(text);
    assert.deepEqual((await read(describeSidecar(config))).config, config);
    assert.deepEqual((await read(describeSidecar(config, 'json'))).config, config);
  }
});

test('the example is sound, and its effective configuration says the same', async () => {
  const real = { attestors, doors, stores, records: recordStores };
  const { config, warnings } = await loadConfig({
    text: await readFile(EXAMPLE, 'utf8'),
    env: {},
    tables: real,
  });
  assert.deepEqual(warnings, []);
  const again = await loadConfig({ text: describeConfig(config), env: {}, tables: real });
  assert.deepEqual(again.config, config);
});

test('a file is read, and one that cannot be is said so', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'mintmark-config-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'mintmark.yaml');
  await assert.rejects(loadConfig({ file, env: {}, tables }), { message: `${file}: cannot be read: ENOENT` });
  await writeFile(file, MINIMAL);
  assert.equal((await loadConfig({ file, env: {}, tables })).config.issuer, 'https://id.example.com');
  await writeFile(file, Buffer.from([0x61, 0x3a, 0xff]));
  await assert.rejects(loadConfig({ file, env: {}, tables }), /is not UTF-8 text/);
});
