/** A sidecar's signer and the authority's door, over real TLS. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import type { Issuer } from '../../src/core/issuer.ts';
import type { Peer, TokenRequest } from '../../src/core/ports.ts';
import { open as openDoor } from '../../src/doors/authority.ts';
import { createFrame } from '../../src/doors/door.ts';
import { openBootstrapCa } from '../../src/net/bootstrap-ca.ts';
import { listen } from '../../src/net/listen.ts';
import { open as openSigner } from '../../src/signers/authority.ts';
import { open as openMemory } from '../../src/stores/memory.ts';
import { refusal } from '../conformance/key-store.ts';
import { collectingRecorder } from '../fakes/recorder.ts';
import { WEB } from '../fakes/workload.ts';
import { scratch } from '../net/openssl.ts';

const now = () => Math.floor(Date.now() / 1000);
const CLAIMS = { iss: 'i', sub: 's', aud: 'aud', iat: 1, nbf: 1, exp: 601, jti: 'j' };
const TOKEN = `e30.${Buffer.from(JSON.stringify(CLAIMS)).toString('base64url')}.c2ln`;

const SHOWN = { rule: 'shown', holds: [], fails: [], allowsAudience: true };
const HIDDEN = { ...SHOWN, rule: 'hidden' };

type Asked = { readonly peer: Peer; readonly request: TokenRequest };

async function authority(t: TestContext, answer: () => void = () => undefined) {
  const asked: Asked[] = [];
  const issuer: Issuer = {
    identifier: 'i',
    async issueToken(_door, peer, request) {
      asked.push({ peer, request });
      answer();
      return { token: TOKEN, keyId: 'kid', algorithm: 'RS256', rule: 'web', claims: CLAIMS };
    },
    issueTokenFor: () => Promise.reject(new Error('never')),
    explain: async () => ({
      workload: WEB,
      decision: {
        allowed: false,
        code: 'access_denied',
        reason: 'no',
        nearest: [HIDDEN, SHOWN],
        shown: [SHOWN],
      },
    }),
  };
  const recorder = collectingRecorder();
  const doors = [openDoor({}, { issuer, restsOn: () => [] })];
  const handler = createFrame({ surface: 'private', doors, version: '0', recorder, peerOf: () => undefined });
  const ca = await openBootstrapCa(await openMemory(), { document: 'private-ca', names: ['localhost'], now });
  const server = new EventEmitter<{ request: [IncomingMessage] }>();
  const watched = (request: IncomingMessage, response: ServerResponse) => {
    server.emit('request', request);
    handler(request, response);
  };
  const target = { host: '127.0.0.1', port: 0, tls: ca.current() };
  const listener = await listen({ target, handler: watched });
  t.after(() => listener.close(0));
  const directory = await scratch(t);
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, 'service.account.token\n');
  const url = `https://localhost:${listener.port}`;
  const signer = openSigner({ url, ca: ca.caPem, caFile: undefined, tokenFile, random: () => 0 });
  t.after(() => signer.close());
  return { signer, server, asked, url, tokenFile, caPem: ca.caPem, listener, recorder };
}

const REQUEST: TokenRequest = { audience: ['sts.amazonaws.com'], ttlSeconds: 300, principalTags: true };

suite('a sidecar and its authority', () => {
  test('the token of the file says who asks, read for each call', async (t) => {
    const { signer, asked, tokenFile } = await authority(t);
    const issued = await signer.issueToken(['sidecar:unix-uid:7'], REQUEST);
    assert.deepEqual(issued, {
      ...{ token: TOKEN, keyId: 'kid', algorithm: 'RS256', rule: 'web', claims: CLAIMS },
      isReusable: true,
    });
    writeFileSync(tokenFile, 'rotated.account.token');
    await signer.issueToken([], REQUEST);
    const tokens = asked.map(({ peer }) => peer.kind === 'bearer' && peer.token);
    assert.deepEqual(tokens, ['service.account.token', 'rotated.account.token']);
    assert.deepEqual(asked[0]?.request, REQUEST);
    assert.deepEqual(asked[0]?.peer.kind === 'bearer' && asked[0].peer.claimed, ['sidecar:unix-uid:7']);
  });

  test('a refusal comes through with what the caller may see', async (t) => {
    const { signer, recorder } = await authority(t, () => {
      throw new IssuerError('access_denied', 'secret detail', { shown: { reason: 'no rule', nearest: [] } });
    });
    await assert.rejects(signer.issueToken([], REQUEST), (error: IssuerError) => {
      assert.equal(error.code, 'access_denied');
      assert.deepEqual(error.shown, { reason: 'no rule', nearest: [] });
      return true;
    });
    assert.equal(recorder.refusals.length, 1);
    assert.doesNotMatch(JSON.stringify(recorder.refusals), /service\.account/);
  });

  test('a refusal says in the log what the nearest rules lack, as far as their owners show it', async (t) => {
    const fails = [{ selector: 'k8s:image-digest:sha256:1', instead: 'not_started' }];
    const { signer } = await authority(t, () => {
      throw new IssuerError('access_denied', 'secret detail', {
        shown: { reason: 'no rule', nearest: [{ ...SHOWN, fails, rule: 'web' }, SHOWN] },
      });
    });
    await assert.rejects(signer.issueToken([], REQUEST), {
      detail:
        'the authority refuses it: no rule; "web" lacks k8s:image-digest:sha256:1 (not_started); "shown" lacks the audience',
    });
  });

  test('429 and 503 say when to come again', async (t) => {
    let code: 'too_many_requests' | 'temporarily_unavailable' = 'too_many_requests';
    const { signer } = await authority(t, () => {
      throw new IssuerError(code, 'later', { retryAfterSeconds: 7 });
    });
    const later = (error: IssuerError) => error.code === code && error.retryAfterSeconds === 7;
    await assert.rejects(signer.issueToken([], REQUEST), later);
    code = 'temporarily_unavailable';
    await assert.rejects(signer.issueToken([], REQUEST), later);
  });

  test('one that fails once is asked again', async (t) => {
    let calls = 0;
    const { signer } = await authority(t, () => {
      if (++calls < 3) throw new IssuerError('temporarily_unavailable', 'not yet');
    });
    assert.equal((await signer.issueToken([], REQUEST)).token, TOKEN);
    assert.equal(calls, 3);
  });

  test('one that cannot answer is left: the next attempt has a connection of its own', async (t) => {
    const ports = new Set<number | undefined>();
    const { signer, server } = await authority(t, () => {
      throw new IssuerError('temporarily_unavailable', 'not here');
    });
    server.on('request', ({ socket }) => ports.add(socket.remotePort));
    await assert.rejects(signer.issueToken([], REQUEST), refusal('temporarily_unavailable'));
    assert.equal(ports.size, 4);
  });

  test('nobody there is temporarily_unavailable', async (t) => {
    const { signer, listener } = await authority(t);
    await listener.close(0);
    await assert.rejects(signer.issueToken([], REQUEST), refusal('temporarily_unavailable', /ECONNREFUSED/));
  });

  test('another CA, another name and plain http are not spoken to', async (t) => {
    const { url, tokenFile, caPem, asked } = await authority(t);
    const other = await openBootstrapCa(await openMemory(), {
      document: 'private-ca',
      names: ['localhost'],
      now,
    });
    const parts = { url, caFile: undefined, tokenFile, random: () => 0 };
    const untrusting = openSigner({ ...parts, ca: other.caPem });
    await assert.rejects(
      untrusting.issueToken([], REQUEST),
      refusal('temporarily_unavailable', /CERT|SIGNATURE/),
    );
    const misnamed = openSigner({ ...parts, ca: caPem, url: url.replace('localhost', '127.0.0.1') });
    await assert.rejects(misnamed.issueToken([], REQUEST), refusal('temporarily_unavailable', /ALTNAME/));
    assert.equal(asked.length, 0);
  });

  test('explains what the authority explains', async (t) => {
    const { signer } = await authority(t);
    const { workload, decision } = await signer.explain([], REQUEST);
    assert.deepEqual(workload.selectors, WEB.selectors);
    assert.equal(decision.allowed, false);
    assert.deepEqual(!decision.allowed && [decision.nearest, decision.shown], [[SHOWN], [SHOWN]]);
  });
});

suite('the door refuses', () => {
  const post = async (
    url: string,
    headers: Record<string, string>,
    body: string,
    ca: string,
    path = '/v1/sidecar/tokens',
  ) => {
    const { request } = await import('node:https');
    return new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
      const outgoing = request(new URL(path, url), { method: 'POST', headers, ca }, async (answer) => {
        const text = (await answer.toArray()).join('');
        resolve({ status: answer.statusCode, text });
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  };
  const bearer = { Authorization: 'Bearer a.b.c' };
  const ok = '{"audience":"x"}';

  test('and explains a refusal with one list of rules, without those that are hidden', async (t) => {
    const { url, caPem } = await authority(t);
    const { status, text } = await post(url, bearer, ok, caPem, '/v1/sidecar/explain');
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(text).decision, {
      allowed: false,
      code: 'access_denied',
      reason: 'no',
      shown: [SHOWN],
    });
  });

  test('with a sentence that is true of bearers', async (t) => {
    const { url, caPem } = await authority(t);
    const { text } = await post(url, {}, ok, caPem);
    assert.equal(JSON.parse(text).error_description, 'It could not be proven who is calling.');
  });

  for (const [title, headers, body, status, why] of [
    ['no bearer', {}, ok, 401, /Authorization/],
    ['another scheme', { Authorization: 'Basic YTpi' }, ok, 401, /Authorization/],
    ['an unknown field', bearer, '{"audience":"x","sub":"admin"}', 400, /known fields/],
    ['a rule of its choice', bearer, '{"audience":"x","rule":"web"}', 400, /known fields/],
    ['a claim that is none of a sidecar', bearer, '{"audience":"x","claimed":["k8s:ns:prod"]}', 400, /claim/],
    ['a life that is no number', bearer, '{"audience":"x","ttl":"600"}', 400, /ttl/],
    ['no audience', bearer, '{}', 400, /invalid_request/],
    ['no JSON', bearer, 'hello', 400, /invalid_request/],
  ] as const)
    test(title, async (t) => {
      const { url, caPem, asked } = await authority(t);
      const answer = await post(url, { ...headers }, body, caPem);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.text, why);
      assert.equal(asked.length, 0);
    });
});
