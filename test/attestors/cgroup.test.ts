import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseUnit } from '../../src/attestors/cgroup.ts';
import { UNPROVEN_REASONS } from '../../src/attestors/reasons.ts';

const unitOf = (path: string) => parseUnit(`0::${path}\n`);

test('the outermost component that is no slice is the unit', () => {
  for (const [path, value] of Object.entries({
    '/system.slice/web.service': 'web.service',
    '/system.slice/system-getty.slice/getty@tty1.service': 'getty@tty1.service',
    '/system.slice/web.service/nested/fake.service': 'web.service',
    '/user.slice/user-1000.slice/user@1000.service/app.slice/web.service': 'user@1000.service',
    '/user.slice/user-1000.slice/session-3.scope': 'session-3.scope',
    '/system.slice/docker-0123abcd.scope/system.slice/web.service': 'docker-0123abcd.scope',
    '/init.scope': 'init.scope',
    '/system.slice/web.socket': 'web.socket',
    '/system.slice/dev-disk-by\\x2duuid.swap': 'dev-disk-by\\x2duuid.swap',
    '/system.slice/_cpu.service': 'cpu.service', // systemd's escape of a controller's name
  }))
    assert.deepEqual(unitOf(path), { value }, path);
});

test('a path without a unit, or one outside of our view, proves nothing', () => {
  for (const path of [
    '/',
    '/system.slice',
    '/docker/0123abcd/web.service',
    '/kubepods/x/web.service',
    '/.service',
  ])
    assert.deepEqual(unitOf(path), { unproven: 'no_unit' }, path);
  for (const path of ['/system.slice/web.service (deleted)', '/system.slice//web.service', '/web.service.d'])
    assert.deepEqual(unitOf(path), { unproven: 'no_unit' }, path);
  for (const path of [
    '/../web.service',
    '/../../system.slice/web.service',
    '/..',
    '/system.slice/web.service/..',
  ])
    assert.deepEqual(unitOf(path), { unproven: 'cgroup_outside' }, path);
  assert.deepEqual(unitOf(`/${'a'.repeat(300)}.service`), { unproven: 'no_unit' });
  assert.deepEqual(parseUnit(''), { unproven: 'no_unit' });
});

test("systemd's own v1 hierarchy counts, and must agree with v2", () => {
  const path = '/system.slice/web.service';
  const legacy = `12:cpu,cpuacct:/system.slice\n1:name=systemd:${path}\n`;
  assert.deepEqual(parseUnit(legacy), { value: 'web.service' });
  assert.deepEqual(parseUnit(`${legacy}0::${path}\n`), { value: 'web.service' });
  assert.deepEqual(parseUnit(`${legacy}0::/\n`), { value: 'web.service' });
  assert.throws(() => parseUnit(`${legacy}0::/system.slice/other.service\n`), { code: 'peer_unproven' });
  assert.throws(() => parseUnit(`1:name=systemd:/\n0::${path}\n`), { code: 'peer_unproven' });
  assert.deepEqual(parseUnit('3:memory:/system.slice/web.service\n'), { unproven: 'no_unit' });
});

test('two lines for one hierarchy, or a path that is none, cannot be understood', () => {
  for (const text of [
    '0::/a.service\n0::/b.service\n',
    '0::a.service\n',
    '1:name=systemd:/a\n2:name=systemd:/a\n',
  ])
    assert.deepEqual(parseUnit(text), { unproven: 'cgroup_unreadable' }, text);
});

test('whatever a process may name below its unit, the unit stays', () => {
  const component = fc.oneof(
    fc.string({ minLength: 1 }).filter((name) => !/[/\n]/.test(name) && name !== '..'),
    fc.constantFrom('web.service', 'a.slice', 'docker-1.scope'),
  );
  fc.assert(
    fc.property(fc.array(component), (inner) => {
      assert.deepEqual(unitOf(['', 'user.slice', 'user@1.service', ...inner].join('/')), {
        value: 'user@1.service',
      });
    }),
  );
});

test('no text makes anything but a unit, a known reason or a refusal', () => {
  const text = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom('0::', '1:name=systemd:', '/', 'a.slice', 'b.service', '..', '\n', ':'))
      .map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, (input) => {
      try {
        const proof = parseUnit(input);
        if ('value' in proof) assert.match(proof.value, /^[^/\n ]+\.(service|scope|socket|mount|swap)$/);
        else assert.ok(proof.unproven in UNPROVEN_REASONS);
      } catch (error) {
        assert.equal((error as { code: string }).code, 'peer_unproven');
      }
    }),
    { numRuns: 1000 },
  );
});
