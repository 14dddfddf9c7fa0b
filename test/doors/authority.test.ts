/** What the door of sidecars takes of callers whose token nobody has asked about yet. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import type { Issuer } from '../../src/core/issuer.ts';
import { open } from '../../src/doors/authority.ts';
import { serve } from '../fakes/http.ts';

const PATH = '/v1/sidecar/tokens';

async function door(t: TestContext, restsOn: readonly string[] = []) {
  const asked: unknown[] = [];
  const issueToken = async (...question: unknown[]) => {
    asked.push(question);
    return { token: 'a.b.c', keyId: 'k', algorithm: 'RS256', rule: 'r', claims: {} };
  };
  const issuer = { identifier: 'i', issueToken } as unknown as Issuer;
  return {
    asked,
    served: await serve(t, open({}, { issuer, restsOn: () => restsOn }), { peerOf: () => undefined }),
  };
}

const post = (body: unknown) => ({
  method: 'POST',
  headers: { authorization: 'Bearer a.b.c', 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

suite('a body of a caller unknown', () => {
  test('is as long as the largest that a sidecar has to send, and no longer', async (t) => {
    const { served } = await door(t);
    const audience = Array.from({ length: 10 }, (_, index) => `${index}${'€'.repeat(254)}`);
    const claimed = [`sidecar:unix-uid:${'1'.repeat(255)}`, `sidecar:container-id:${'a'.repeat(255)}`];
    assert.equal((await served.ask(PATH, post({ audience, claimed }))).status, 200);
    assert.equal((await served.ask(PATH, post({ audience: 'x'.repeat(16 * 1024) }))).status, 413);
  });

  test('that never comes gives way, and keeps no sidecar from its token', async (t) => {
    const { served, asked } = await door(t);
    const head = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\nContent-Length: 9\r\n\r\n`;
    // One more than are read at once of an address, and one that ends: the first has given way to them.
    const first = served.sendRaw(`${head}{`);
    await served.ask(PATH, post({ audience: 'a' })); // so that it has been begun
    const rest = Array.from({ length: 256 }, () => served.sendRaw(`${head}{`));
    assert.equal((await served.ask(PATH, post({ audience: 'a' }))).status, 200);
    for (const answer of await Promise.all([first, ...rest]))
      assert.match(answer, /^HTTP\/1\.1 (?:503|408) /);
    assert.match(await first, /^HTTP\/1\.1 503 /);
    assert.equal(asked.length, 2);
  });
});

test('a token that rests on an image is not to be handed out again', async (t) => {
  for (const [restsOn, reusable] of [
    [['k8s:ns', 'k8s:sa'], true],
    [['k8s:ns', 'k8s:image-digest'], false],
    [['k8s:image'], false],
  ] as const) {
    const { served } = await door(t, restsOn);
    assert.equal(JSON.parse((await served.ask(PATH, post({ audience: 'a' }))).text).reusable, reusable);
  }
});

test('a field of the wrong form is named in words', async (t) => {
  const { served } = await door(t);
  for (const [fields, reason] of [
    [{ claimed: 'x' }, 'claimed: must be a list'],
    [{ claimed: [1] }, 'claimed: must be texts'],
    [{ claimed: ['unix:uid:0'] }, 'claimed: is no claim of a sidecar'],
    [{ ttl: '1' }, 'ttl: must be seconds'],
    [{ aws_principal_tags: 1 }, 'aws_principal_tags: must be true or false'],
  ] as const) {
    const { status, text } = await served.ask(PATH, post({ audience: 'a', ...fields }));
    assert.deepEqual([status, JSON.parse(text).reason], [400, reason]);
  }
});
