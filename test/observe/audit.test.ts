import assert from 'node:assert/strict';
import { test } from 'node:test';
import { auditRecorder, combineRecorders } from '../../src/observe/audit.ts';
import { createLog } from '../../src/observe/log.ts';
import { workloadOf } from '../fakes/workload.ts';
import { issuance, refusal } from './events.ts';

function capture(level: 'info' | 'error' = 'info') {
  const lines: string[] = [];
  const log = createLog({ level, version: '0.1.0', write: (line) => lines.push(line) });
  return { recorder: auditRecorder(log), lines, last: () => JSON.parse(lines.at(-1) ?? '') };
}

test('a token has one line, without the token and its further claims', () => {
  const { recorder, lines, last } = capture();
  const event = issuance();
  recorder.issued(event);
  assert.equal(lines.length, 1);
  const { time: _, ...line } = last();
  assert.deepEqual(line, {
    level: 'info',
    name: 'mintmark',
    version: '0.1.0',
    door: 'fly',
    rule: 'web may use AWS',
    sub: 'acme:web',
    aud: 'sts.amazonaws.com',
    jti: '3f0c1f5e-6a0a-4f1b-9f6e-1c2d3e4f5a6b',
    exp: 1_760_000_600,
    kid: 'k1',
    alg: 'ES256',
    peer: { pid: 4711, uid: 998, gid: 997 },
    attestMicros: 35,
    totalMicros: 410,
    msg: 'issued',
  });
  assert.doesNotMatch(lines[0] ?? '', /eyJ|c2lnbmF0dXJl|not for the log/);
  for (const part of event.issued.token.split('.')) assert.ok(!lines[0]?.includes(part));
});

test('a caller in a container is told with it', () => {
  const { recorder, last } = capture();
  const workload = { selectors: new Set<string>(), facts: { 'docker.container-id': 'c0ffee' }, unproven: {} };
  recorder.issued(issuance({ workload }));
  assert.deepEqual(last().peer, { pid: 4711, uid: 998, gid: 997, container: 'c0ffee' });
  recorder.refused(refusal({ workload }));
  assert.equal(last().peer.container, 'c0ffee');
});

test('a token without a caller has no peer', () => {
  const { recorder, last } = capture();
  recorder.issued(issuance({ door: 'token-files', peer: undefined }));
  assert.equal('peer' in last(), false);
});

test('whose token proved the caller is told, and not the token', () => {
  const { recorder, lines, last } = capture();
  const peer = { kind: 'assertion', token: 'eyJh.eyJi.c2ln', audiences: [] } as const;
  const facts = { 'jwt.issuer': 'github', 'jwt.subject': 'repo:a', 'jwt.id': 'j', 'oauth.client': 'ci' };
  recorder.issued(issuance({ peer, workload: workloadOf(facts) }));
  assert.deepEqual(last().peer, { issuer: 'github', sub: 'repo:a', jti: 'j', client: 'ci' });
  assert.doesNotMatch(lines[0] ?? '', /eyJ|c2ln/);
});

test('a refusal has one line; one by our own fault is an error with its cause', () => {
  const { recorder, last } = capture();
  recorder.refused(refusal());
  const { time: _, name, version, ...line } = last();
  assert.deepEqual(line, {
    level: 'info',
    door: 'fly',
    code: 'invalid_target',
    detail: 'no rule allows it',
    aud: ['sts.amazonaws.com'],
    peer: { pid: 4711, uid: 998, gid: 997 },
    msg: 'refused',
  });
  recorder.refused(refusal({ code: 'server_error', cause: new TypeError('boom') }));
  assert.equal(last().level, 'error');
  assert.equal(last().err.message, 'boom');
});

test('a caller that is not proven is told as the kernel named it', () => {
  const { recorder, last } = capture();
  const caller = { pid: 4711, uid: 1234, gid: 1235 };
  recorder.refused(refusal({ peer: undefined, code: 'peer_unproven', caller }));
  assert.deepEqual(last().peer, caller);
});

test('audit lines are written at every log level', () => {
  const { recorder, lines } = capture('error');
  recorder.issued(issuance());
  recorder.refused(refusal());
  assert.equal(lines.length, 2);
});

test('a flood of audiences and detail is cut', () => {
  const { recorder, lines } = capture();
  recorder.refused(refusal({ audience: Array(1000).fill('a'.repeat(10_000)), detail: 'd'.repeat(100_000) }));
  assert.ok((lines[0] ?? '').length < 8000);
});

test('a line that cannot be written withholds the token, lets a refusal stand, and is told', () => {
  const write = () => {
    throw new Error('ENOSPC');
  };
  const faults: unknown[] = [];
  const log = createLog({ level: 'info', version: '0', write });
  const recorder = auditRecorder(log, (error) => faults.push(error));
  const heard: string[] = [];
  const later = { issued: () => heard.push('issued'), refused: () => heard.push('refused') };
  const both = combineRecorders(recorder, later);
  assert.throws(() => both.issued(issuance()), /ENOSPC/);
  both.refused(refusal());
  assert.equal(faults.length, 2);
  assert.deepEqual(heard, ['refused']);
});
