import assert from 'node:assert/strict';
import { before, suite, type TestContext, test } from 'node:test';
import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify } from 'jose';
import * as v from 'valibot';
import { buildDocuments } from '../../src/core/discovery.ts';
import { IssuerError } from '../../src/core/errors.ts';
import { EMPTY_RING, type KeyRing } from '../../src/core/key-ring.ts';
import type { Rule } from '../../src/core/policy.ts';
import { config, constants, type FlyConfig, open } from '../../src/doors/fly.ts';
import { type Answer, type Question, serve } from '../fakes/http.ts';
import { issuerOf } from '../fakes/issuer.ts';
import { ISSUER, policyOf } from '../fakes/policy.ts';
import { realRing } from '../fakes/rings.ts';
import { fakePeer, fixedAttestor } from '../fakes/workload.ts';

const PATH = '/v1/tokens/oidc';
const FORM = 'application/x-www-form-urlencoded';
const AWS = 'sts.amazonaws.com';
const RULE: Partial<Rule> = {
  audiences: [AWS, 'https://example.com', 'b'],
  maxTtlSeconds: 3600,
  multipleAudiences: true,
};

suite('POST /v1/tokens/oidc', () => {
  let ring: KeyRing;
  before(async () => {
    ring = await realRing(['RS256']);
  });

  type Options = {
    readonly block?: FlyConfig;
    readonly rules?: readonly Partial<Rule>[];
    readonly ring?: KeyRing;
  };
  async function door(t: TestContext, options: Options = {}, parts: Parameters<typeof issuerOf>[1] = {}) {
    const policy = policyOf(...(options.rules ?? [RULE]));
    const { issuer, clock, recorder } = issuerOf(options.ring ?? ring, { policy: () => policy, ...parts });
    const block = options.block ?? { audience: 'https://example.com' };
    const served = await serve(t, open(block, { issuer, peerOf: fakePeer }));
    const post = (body?: string | Buffer, type?: string, question: Question = {}) =>
      served.ask(PATH, {
        method: 'POST',
        headers: { ...(type === undefined ? {} : { 'content-type': type }), ...question.headers },
        ...(body === undefined ? {} : { body }),
      });
    return { served, post, clock, issued: recorder };
  }

  function assertRefused(
    { status, headers, text }: Answer,
    expected: number,
    code: string,
  ): Record<string, unknown> {
    const answer = JSON.parse(text);
    assert.equal(`${status} ${answer.error}`, `${expected} ${code}`, text);
    assert.match(headers['content-type']!, /^application\/json/);
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(typeof answer.error_description, 'string');
    assert.doesNotMatch(text, /eyJ|at .*\.ts|node_modules/);
    return answer;
  }

  async function payloadOf({ status, text }: Answer, clock: { now(): number }) {
    assert.equal(status, 200, text);
    const jwks = buildDocuments(ISSUER, ring).jwks as unknown as JSONWebKeySet;
    const currentDate = new Date(clock.now() * 1000);
    return (await jwtVerify(text, createLocalJWKSet(jwks), { issuer: ISSUER, currentDate })).payload;
  }

  test('answers with the raw token as text, a new one each time', async (t) => {
    const { post, clock, issued } = await door(t);
    const answers = [await post(`{"aud":"${AWS}"}`), await post(`{"aud":"${AWS}"}`)];
    for (const answer of answers) {
      assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
      assert.equal(answer.headers['cache-control'], 'no-store');
      assert.equal(Number(answer.headers['content-length']), answer.text.length);
    }
    const [first, second] = await Promise.all(answers.map((answer) => payloadOf(answer, clock)));
    assert.deepEqual(first, {
      iss: ISSUER,
      sub: 'acme:web:web-1',
      aud: AWS,
      iat: clock.now(),
      nbf: clock.now() - 60,
      exp: clock.now() + 600,
      jti: 'jti-1',
    });
    assert.equal(second!.jti, 'jti-2');
    assert.ok(issued.issuances.every(({ door: name }) => name === 'fly'));
  });

  test('takes every content type, a form, and an empty body', async (t) => {
    const { post, clock } = await door(t);
    const json = `{"aud":"${AWS}"}`;
    for (const type of ['application/json', 'application/json; charset=utf-8', FORM, 'text/plain', undefined])
      assert.equal((await payloadOf(await post(json, type), clock)).aud, AWS, String(type));
    assert.equal((await payloadOf(await post(`aud=${AWS}`, FORM), clock)).aud, AWS);
    for (const body of [undefined, '', '{}', '{"aud":null}'])
      assert.equal((await payloadOf(await post(body, FORM), clock)).aud, 'https://example.com');
    const bearer = await post(json, undefined, { headers: { authorization: 'Bearer x' } });
    assert.equal((await payloadOf(bearer, clock)).aud, AWS);
  });

  test('without a default an audience must be asked for', async (t) => {
    const { post } = await door(t, { block: {} });
    for (const body of [undefined, '{}', '{"aud":null}'])
      assert.equal(assertRefused(await post(body), 400, 'invalid_request').reason, 'aud is missing');
  });

  test("adds Fly's claims where the configuration has them", async (t) => {
    const block = {
      org: 'acme',
      app: 'web',
      machine: 'm1',
      region: 'fra',
      image: 'i',
      imageDigest: 'sha256:1',
    };
    const { post, clock } = await door(t, { block, rules: [{ ...RULE, claims: { region: 'ams' } }] });
    const { org_name, app_name, machine_id, region, image, image_digest, app_id } = await payloadOf(
      await post(`{"aud":"${AWS}"}`),
      clock,
    );
    assert.deepEqual(
      { org_name, app_name, machine_id, region, image, image_digest, app_id },
      {
        org_name: 'acme',
        app_name: 'web',
        machine_id: 'm1',
        region: 'ams',
        image: 'i',
        image_digest: 'sha256:1',
        app_id: undefined,
      },
    );
    assert.deepEqual(constants(block), {
      'fly.org': 'acme',
      'fly.app': 'web',
      'fly.machine': 'm1',
      'fly.region': 'fra',
    });
  });

  test('principal tags come when they are asked for', async (t) => {
    const { post, clock } = await door(t, {
      rules: [{ ...RULE, principalTags: { team: 'x' }, transitiveTags: ['team'] }],
    });
    const tags = { principal_tags: { team: ['x'] }, transitive_tag_keys: ['team'] };
    for (const [asked, expected] of [
      ['true', tags],
      ['false', undefined],
    ] as const) {
      const body = `{"aud":"${AWS}","aws_principal_tags":${asked}}`;
      assert.deepEqual((await payloadOf(await post(body), clock))['https://aws.amazon.com/tags'], expected);
    }
    const form = await post(`aud=${AWS}&aws_principal_tags=true`, FORM);
    assert.deepEqual((await payloadOf(form, clock))['https://aws.amazon.com/tags'], tags);
    assertRefused(await post(`aud=${AWS}&aws_principal_tags=yes`, FORM), 400, 'invalid_request');
    for (const bad of ['1', '"true"', '"yes"', 'null', '[]'])
      assertRefused(await post(`{"aud":"${AWS}","aws_principal_tags":${bad}}`), 400, 'invalid_request');
    const without = await door(t);
    const refused = await without.post(`{"aud":"${AWS}","aws_principal_tags":true}`);
    assertRefused(refused, 400, 'invalid_request');
  });

  test('the life may be asked for, in whole seconds and within what the rule allows', async (t) => {
    const { post, clock } = await door(t);
    for (const [ttl, life] of [
      ['60', 60],
      ['3600', 3600],
      ['6e1', 60],
    ] as const) {
      const { exp, iat } = await payloadOf(await post(`{"ttl":${ttl}}`), clock);
      assert.equal(exp! - iat!, life);
    }
    const { exp, iat } = await payloadOf(await post('ttl=90', FORM), clock);
    assert.equal(exp! - iat!, 90);
    for (const bad of ['ttl=1e2', 'ttl=', 'ttl=-60', 'ttl=60.5', 'ttl=59', 'ttl=60&ttl=60'])
      assertRefused(await post(bad, FORM), 400, 'invalid_request');
    for (const bad of [
      '0',
      '-1',
      '59',
      '3601',
      '1e999',
      '60.5',
      '"600"',
      '"1e3"',
      '"-60"',
      'true',
      'null',
      '[60]',
      '""',
    ])
      assertRefused(await post(`{"ttl":${bad}}`), 400, 'invalid_request');
  });

  test('an audience that no rule allows, or that is none', async (t) => {
    const { post, served } = await door(t);
    const answer = assertRefused(await post('{"aud":"evil.example"}'), 403, 'invalid_target');
    assert.equal(answer.reason, 'no rule allows evil.example to this caller');
    assert.deepEqual(served.recorder.refusals[0]?.audience, ['evil.example']);
    for (const bad of [
      '""',
      `"${'x'.repeat(256)}"`,
      '"a\\nb"',
      '17',
      '{}',
      'true',
      '[]',
      '[1]',
      '[["b"]]',
      '[""]',
    ])
      assertRefused(await post(`{"aud":${bad}}`), 400, 'invalid_request');
  });

  test('several audiences at once, in the order asked for, where the rule allows', async (t) => {
    const { post, clock } = await door(t);
    assert.deepEqual((await payloadOf(await post(`{"aud":["b","${AWS}","b"]}`), clock)).aud, ['b', AWS]);
    assert.equal((await payloadOf(await post('{"aud":["b"]}'), clock)).aud, 'b');
    const single = await door(t, { rules: [{ ...RULE, multipleAudiences: false }] });
    assertRefused(await single.post(`{"aud":["b","${AWS}"]}`), 400, 'invalid_target');
    assertRefused(await post(`{"aud":["b","evil.example"]}`), 403, 'invalid_target');
  });

  test('is described with both forms of its body', async (t) => {
    const { served } = await door(t);
    const { paths } = JSON.parse((await served.ask('/openapi.json')).text);
    const { content } = paths[PATH].post.requestBody;
    assert.deepEqual(Object.keys(content), ['application/json', FORM]);
    for (const { schema } of Object.values<{ schema: { properties: object } }>(content))
      assert.deepEqual(Object.keys(schema.properties), ['aud', 'aws_principal_tags', 'ttl']);
  });

  test('malformed bodies', async (t) => {
    const { post } = await door(t);
    assertRefused(await post(Buffer.alloc(65_537, 0x20)), 413, 'request_too_large');
    const nested = `{"aud":${'['.repeat(30_000)}${']'.repeat(30_000)}}`;
    const bad = [
      '{"aud":"b","aud":"b"}',
      '{"aud":"b"',
      '["b"]',
      '{"__proto__":{"aud":"b"}}',
      '{"x":1}',
      nested,
    ];
    for (const body of bad) assertRefused(await post(body), 400, 'invalid_request');
    assertRefused(await post('aud=b&aud=b', FORM), 400, 'invalid_request');
    assertRefused(await post('aud=b'), 400, 'invalid_request');
    assertRefused(await post(Buffer.from([0xff, 0xfe, 0x00])), 400, 'invalid_request');
    const unknown = assertRefused(await post('{"audience":"b"}'), 400, 'invalid_request');
    assert.equal(unknown.reason, 'known fields: aud aws_principal_tags ttl');
  });

  test('nobody whom the kernel does not name, nor who changed meanwhile', async (t) => {
    const { issuer } = issuerOf(ring);
    const nobody = await serve(t, open({ audience: AWS }, { issuer, peerOf: () => undefined }));
    assertRefused(await nobody.ask(PATH, { method: 'POST' }), 403, 'peer_unproven');
    const confirm = () => {
      throw new IssuerError('peer_changed', 'it has exited');
    };
    const changed = await door(t, {}, { attestor: { ...fixedAttestor(), confirm } });
    assertRefused(await changed.post(`{"aud":"${AWS}"}`), 403, 'peer_changed');
    assert.deepEqual(changed.issued.issuances, []);
  });

  test('when there is no key, or no audit log', async (t) => {
    const unready = await door(t, { ring: EMPTY_RING });
    assertRefused(await unready.post(`{"aud":"${AWS}"}`), 503, 'key_not_ready');
    const issued = () => {
      throw new Error('disk full');
    };
    const silent = await door(t, {}, { recorder: { issued, refused: () => undefined } });
    assertRefused(await silent.post(`{"aud":"${AWS}"}`), 500, 'server_error');
  });

  test('a refusal says what the caller may know', async (t) => {
    const near = { name: 'open', match: ['unix:user:root'] };
    const { post, served } = await door(t, { rules: [near, { ...near, name: 'SECRET', explain: false }] });
    const { reason, caller, unproven, nearest } = assertRefused(
      await post(`{"aud":"${AWS}"}`),
      403,
      'access_denied',
    );
    assert.equal(reason, `no rule allows ${AWS} to this caller`);
    assert.ok((caller as string[]).includes('unix:uid:998'));
    assert.deepEqual(unproven, { 'unix:sha256': 'unsupported_filesystem' });
    assert.deepEqual(
      (nearest as { rule: string }[]).map(({ rule }) => rule),
      ['open'],
    );
    const [refusal] = served.recorder.refusals;
    assert.match(refusal!.detail, /SECRET/);
    assert.equal(refusal!.door, 'fly');
    assert.equal(refusal!.peer?.kind, 'unix');
  });

  test('tokens of many calls at once are all different and all good', async (t) => {
    const { post } = await door(t);
    const answers = await Promise.all(Array.from({ length: 50 }, () => post()));
    assert.equal(new Set(answers.map(({ text }) => decodeJwt(text).jti)).size, 50);
  });
});

suite("the Fly door's configuration", () => {
  test('is strict', () => {
    assert.deepEqual(v.parse(config, {}), {});
    for (const bad of [{ orgg: 'x' }, { org: '' }, { org: 1 }, 'x', null])
      assert.throws(() => v.parse(config, bad));
  });
});
