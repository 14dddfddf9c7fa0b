import assert from 'node:assert/strict';
import { test } from 'node:test';
import { developmentConfig } from '../../src/config.ts';
import { tables } from './tables.ts';

const DEVELOPMENT = {
  socketPath: '/tmp/m/api.sock',
  listen: '127.0.0.1:8080',
  adminPath: '/tmp/m/admin.sock',
  uid: 1000,
  host: 'laptop',
  env: {},
  tables,
};

test('a development issuer is for the own user only', async () => {
  const { config, warnings } = await developmentConfig(DEVELOPMENT);
  assert.deepEqual(warnings, []);
  assert.equal(config.issuer, 'http://127.0.0.1:8080');
  assert.deepEqual(config.rules[0]?.match, ['unix:uid:1000']);
  assert.equal(config.rules[0]?.subject, 'dev:{unix.uid}:{host}');
  assert.deepEqual(config.rules[0]?.audiencePatterns, ['**']);
  assert.deepEqual(config.keys.store, { name: 'memory', block: {} });
  assert.equal(config.keys.publishAtLeastSeconds, 20);
  assert.equal(config.socket.mode, 0o600);
  const other = await developmentConfig({
    ...DEVELOPMENT,
    listen: '[::1]:81',
    user: 'me',
    stateDirectory: '/tmp/s',
    env: { MINTMARK_LOG_LEVEL: 'debug' },
  });
  assert.equal(other.config.issuer, 'http://[::1]:81');
  assert.equal(other.config.rules[0]?.subject, 'dev:{unix.user}:{host}');
  assert.deepEqual(other.config.keys.store, { name: 'file', block: '/tmp/s' });
  assert.equal(other.config.log.level, 'debug');
});

test('a development issuer that others can reach says so, and bad options are told', async () => {
  const { warnings, config } = await developmentConfig({ ...DEVELOPMENT, listen: '0.0.0.0:8080' });
  assert.equal(config.issuer, 'http://127.0.0.1:8080');
  assert.match(warnings[0] ?? '', /can be reached from other machines/);
  await assert.rejects(
    developmentConfig({ ...DEVELOPMENT, listen: 'here' }),
    /public\.listen: must be an address/,
  );
  await assert.rejects(
    developmentConfig({ ...DEVELOPMENT, socketPath: 'api.sock' }),
    /socket\.path: must be an abs/,
  );
});
