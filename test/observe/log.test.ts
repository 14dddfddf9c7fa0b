import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { createLog, type LogLevel } from '../../src/observe/log.ts';

function capture(level: LogLevel = 'info') {
  const lines: string[] = [];
  const log = createLog({ level, version: '0.1.0', write: (line) => lines.push(line) });
  const last = () => JSON.parse(lines.at(-1) ?? '');
  return { log, lines, last };
}

test('a line is JSON with level, time, name and version, and nothing of the machine', () => {
  const { log, last } = capture();
  log.info({ socket: '/run/api.sock' }, 'listening');
  const { time, ...line } = last();
  assert.deepEqual(line, {
    level: 'info',
    name: 'mintmark',
    version: '0.1.0',
    socket: '/run/api.sock',
    msg: 'listening',
  });
  assert.equal(new Date(time).toISOString(), time);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
});

test('the level is obeyed, and can be changed', () => {
  const { log, lines } = capture('warn');
  log.info('no');
  log.warn('yes');
  log.level = 'debug';
  log.debug('yes');
  assert.equal(lines.length, 2);
});

test("an attacker's path stays one line that no terminal obeys", () => {
  const { log, lines, last } = capture();
  const path = '/tmp/a\n{"level":"info","msg":"issued"}\u001b[31m\u009b2J\u2028\u202e\u007f\u0000"\\';
  log.info({ path, [path]: 1 }, path);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^[^\n]*\n$/);
  assert.doesNotMatch((lines[0] ?? '').slice(0, -1), /[\p{Cc}\p{Zl}\p{Zp}\u202e]/u);
  assert.equal(last().path, path);
  assert.equal(last().msg, path);
});

test('an error is told by what it says and what it came from', () => {
  const { log, last } = capture();
  const cause = Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC', secret: 'eyJ' });
  const error = new IssuerError('temporarily_unavailable', 'the store is full', {
    cause,
    shown: { a: 'eyJ' },
  });
  log.error(error, 'rotation failed');
  const line = last();
  assert.equal(line.msg, 'rotation failed');
  assert.deepEqual(line.err, {
    name: 'IssuerError',
    code: 'temporarily_unavailable',
    detail: 'the store is full',
    cause: { name: 'Error', code: 'ENOSPC', message: 'ENOSPC: no space' },
  });
});

test('a fault of the program has its place; other things that are thrown have their text', () => {
  const { log, last } = capture();
  log.error({ err: new TypeError('x is not a function') }, 'fault');
  assert.equal(last().err.name, 'TypeError');
  assert.match(last().err.at[0], /log\.test\.ts/);
  log.error({ err: 'a text' }, 'fault');
  assert.deepEqual(last().err, { name: 'string', message: 'a text' });
});

test('long texts and long chains of causes are cut', () => {
  const { log, last, lines } = capture();
  let error = new Error('x'.repeat(100_000));
  for (let depth = 0; depth < 50; depth++) error = new Error('y'.repeat(100_000), { cause: error });
  log.error({ err: error }, 'fault');
  assert.ok((lines[0] ?? '').length < 20_000);
  assert.equal(last().err.cause.cause.cause.cause.cause, undefined);
});

test('a line that cannot be written throws', () => {
  const log = createLog({
    level: 'info',
    version: '0',
    write: () => {
      throw new Error('EPIPE');
    },
  });
  assert.throws(() => log.info('x'), /EPIPE/);
});
