import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, MINIMAL, problemsOf } from './tables.ts';

test('a variable wins over the file, setting by setting', async () => {
  const { config } = await load(`${MINIMAL}socket: { path: /run/a/api.sock, group: workloads }\n`, {
    MINTMARK_ISSUER: 'https://other.example.com',
    MINTMARK_SOCKET_MODE: '0600',
    MINTMARK_SOCKET_MAX_CONNECTIONS_PER_UID: '16',
    MINTMARK_SOCKET_STRICT_PEER: 'true',
    MINTMARK_PUBLIC_LISTEN: '[::1]:9000',
    MINTMARK_PUBLIC_CACHE_FOR: '1m',
    MINTMARK_PUBLIC_TLS: 'bootstrap',
    MINTMARK_STATUS: 'off',
    MINTMARK_ADMIN_PATH: '/run/b/admin.sock',
    MINTMARK_KEYS_ROTATE_EVERY: '30d',
    MINTMARK_KEYS_ENCRYPTION_CREDENTIAL: 'kek',
    MINTMARK_LOG_LEVEL: 'warn',
    MINTMARK_STOP_WITHIN: '1s',
    MINTMARK_HOST: 'web-2',
  });
  assert.equal(config.issuer, 'https://other.example.com');
  assert.equal(config.socket.path, '/run/a/api.sock');
  assert.equal(config.socket.group, 'workloads');
  assert.equal(config.socket.mode, 0o600);
  assert.equal(config.socket.maxConnectionsPerUid, 16);
  assert.equal(config.socket.strictPeer, true);
  assert.deepEqual(config.public, {
    listen: { host: '::1', port: 9000 },
    cacheForSeconds: 60,
    tls: { kind: 'bootstrap', names: ['other.example.com'] },
  });
  assert.equal(config.status, undefined);
  assert.equal(config.admin.path, '/run/b/admin.sock');
  assert.equal(config.keys.rotateEverySeconds, 30 * 86_400);
  assert.equal(config.keys.encryption?.credential, 'kek');
  assert.equal(config.log.level, 'warn');
  assert.equal(config.stopWithinSeconds, 1);
  assert.equal(config.host, 'web-2');
});

test('without a file the variables are everything; lists and maps are YAML', async () => {
  const { config } = await load('', {
    MINTMARK_ISSUER: 'https://id.example.com',
    MINTMARK_SOCKET: '/run/x/api.sock',
    MINTMARK_KEYS_STORE: '{ file: /var/lib/mintmark }',
    MINTMARK_KEYS_PUBLISH_AT_LEAST: '48h',
    MINTMARK_DOORS: '{ fly: { org: acme } }',
    MINTMARK_ATTESTORS: 'unix:',
    MINTMARK_RULES: '[{ name: a, match: ["unix:uid:1"], subject: a, audiences: [x] }]',
    MINTMARK_TOKENS: '- { path: /t, audience: x, owner: 1 }',
  });
  assert.equal(config.socket.path, '/run/x/api.sock');
  assert.deepEqual(config.keys.store, { name: 'file', block: '/var/lib/mintmark' });
  assert.deepEqual(config.doors, { fly: { org: 'acme' } });
  assert.equal(config.rules[0]?.name, 'a');
  assert.equal(config.tokens[0]?.path, '/t');
});

test('a short store, an inner setting over a whole map, and the short socket beside its settings', async () => {
  const { config } = await load(`${MINIMAL}socket: { group: workloads }\n`, {
    MINTMARK_KEYS_STORE: 'memory',
    MINTMARK_PUBLIC: '{ listen: 127.0.0.1:1, cacheFor: 1m }',
    MINTMARK_PUBLIC_LISTEN: '127.0.0.1:2',
    MINTMARK_SOCKET: '/run/y/api.sock',
  });
  assert.deepEqual(config.keys.store, { name: 'memory', block: {} });
  assert.deepEqual(config.public?.listen, { host: '127.0.0.1', port: 2 });
  assert.equal(config.public?.cacheForSeconds, 60);
  assert.equal(config.socket.path, '/run/y/api.sock');
  assert.equal(config.socket.group, 'workloads');
});

test('an inner setting reaches into the short form of the socket', async () => {
  const { config } = await load(`${MINIMAL}socket: /run/z/api.sock\n`, { MINTMARK_SOCKET_GROUP: 'web' });
  assert.equal(config.socket.path, '/run/z/api.sock');
  assert.equal(config.socket.group, 'web');
});

test('a list that two settings share by an alias is not written through', async () => {
  const text = `${MINIMAL}status: &l { listen: 127.0.0.1:1 }\ndoors: { fly: {} }\n`;
  const { config } = await load(text.replace('{ listen: 127.0.0.1:8080 }', '&p { listen: 127.0.0.1:8080 }'), {
    MINTMARK_STATUS_LISTEN: '127.0.0.1:3',
  });
  assert.equal(config.public?.listen.port, 8080);
  assert.equal(config.status?.listen.port, 3);
});

test('what is wrong in a variable is told with its name', async () => {
  const problems = await problemsOf(MINIMAL, {
    MINTMARK_PUBLIC_CACHE_FOR: '600',
    MINTMARK_SOCKET_MODE: '640',
    MINTMARK_SOCKET_MAX_CONNECTIONS: 'many',
    MINTMARK_RULES: '[{ name: a, match: [x], subject: a }',
    MINTMARK_TOKENS: '[{ path: t, audience: x, owner: web }]',
  });
  assert.deepEqual([...problems].sort(), [
    'MINTMARK_PUBLIC_CACHE_FOR: public.cacheFor: 600 has no unit: write 600s or 10m',
    'MINTMARK_RULES: is no YAML: Flow sequence must end with a ]',
    'MINTMARK_SOCKET_MAX_CONNECTIONS: socket.maxConnections: must be a number, not "many"',
    'MINTMARK_SOCKET_MODE: socket.mode: must be a file mode in octal digits such as "0640", not "640"',
    'MINTMARK_TOKENS: tokens[0].path: must be an absolute path, not "t"',
  ]);
});

test('a variable that is no setting is a mistake', async () => {
  const problems = await problemsOf(MINIMAL, {
    MINTMARK_ISUER: 'x',
    MINTMARK_KEYS_ROTATEEVERY: '7d',
    MINTMARK_PORT: '8443',
    MINTMARK___PROTO__: 'x',
    OTHER: 'x',
  });
  assert.deepEqual(problems, [
    'MINTMARK_ISUER: is not the name of a setting (did you mean MINTMARK_ISSUER?)',
    'MINTMARK_KEYS_ROTATEEVERY: is not the name of a setting (did you mean MINTMARK_KEYS_ROTATE_EVERY?)',
    'MINTMARK_PORT: is not the name of a setting (did you mean MINTMARK_HOST?)',
    'MINTMARK___PROTO__: is not the name of a setting',
  ]);
});

test('variables of the commands, of the tests and of Kubernetes Services are left alone', async () => {
  const { config } = await load(MINIMAL, {
    MINTMARK_CONFIG: '/etc/mintmark.yaml',
    MINTMARK_ADMIN: '/run/admin.sock',
    MINTMARK_TEST_REQUIRE_ALL: '1',
    MINTMARK_SERVICE_HOST: '10.0.0.1',
    MINTMARK_SERVICE_PORT: '8443',
    MINTMARK_SERVICE_PORT_HTTPS: '8443',
    MINTMARK_PORT: 'tcp://10.0.0.1:8443',
    MINTMARK_PORT_8443_TCP: 'tcp://10.0.0.1:8443',
    MINTMARK_PORT_8443_TCP_PROTO: 'tcp',
    MINTMARK_PORT_8443_TCP_PORT: '8443',
    MINTMARK_PORT_8443_TCP_ADDR: '10.0.0.1',
    MINTMARK_AUTHORITY_SERVICE_HOST: '10.0.0.2',
    MINTMARK_AUTHORITY_PORT: 'tcp://10.0.0.2:443',
    MINTMARK_AUTHORITY_PORT_443_TCP_ADDR: '10.0.0.2',
    MINTMARK_ISSUER: '',
  });
  assert.equal(config.issuer, 'https://id.example.com');
  assert.equal(config.admin.path, '/run/mintmark/admin.sock');
});
