/**
 * Foreign verifiers take our tokens of every algorithm, and nothing that is not
 * quite one. The keys are brought along, so that the test can sign with them too:
 * what it forges is wrong in the one way that it says, and right in all others.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { SignJWT } from 'jose';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { isMissing } from '../stores/requires.ts';
import { ask, decode, mint } from '../system/ask.ts';
import { createPlace, mintmark, type Place, ruleFor, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { hasProgram } from './cache.ts';
import { type Question, verifiers } from './verifiers.ts';

const HOUR = 3600;

/** A question, and what its refusal must speak of; undefined where it is to be accepted. */
type Case = { readonly name: string; readonly question: Question; readonly refusal?: RegExp };

describe('independent verifiers', () => {
  const scope = scopeOf();
  const cases: Case[] = [];

  before(async () => {
    const place = await createPlace(scope);
    const rules = ALGORITHMS.map((algorithm) =>
      ruleFor({
        name: algorithm,
        algorithm,
        audiences: [audienceOf(algorithm)],
        subject: `acme:${algorithm}`,
      }),
    );
    writeConfig(place, { rules });
    const stranger = await createPlace(scope);
    writeConfig(stranger);
    await Promise.all([start(scope, place), start(scope, stranger)]);
    for (const algorithm of ALGORITHMS) {
      const key = await bringKey(place, algorithm);
      const token = await mint(place.socket, { aud: audienceOf(algorithm) });
      cases.push(
        ...(await casesOf(algorithm, { token, key, issuer: place.issuer, stranger: stranger.issuer })),
      );
    }
  });

  for (const [name, verifier] of Object.entries(verifiers))
    it(`${name} accepts our tokens and refuses what is no such token`, async (t) => {
      const { needs } = verifier;
      if (needs !== undefined && isMissing(t, hasProgram(needs), `there is no ${needs}`)) return;
      const verdicts = await verifier.verify(cases.map(({ question }) => question));
      assert.equal(verdicts.length, cases.length);
      for (const [index, { name: what, question, refusal }] of cases.entries()) {
        const verdict = verdicts[index] ?? { refusal: 'no verdict' };
        if (refusal === undefined)
          assert.deepEqual(verdict, { subject: decode(question.token).claims.sub }, what);
        else assert.match('refusal' in verdict ? verdict.refusal : 'accepted', refusal, what);
      }
    });
});

const audienceOf = (algorithm: Algorithm) => `https://${algorithm.toLowerCase()}.example.com`;

const CURVES = { ES256: 'P-256', ES384: 'P-384' } as const;

function generate(algorithm: Algorithm): KeyObject {
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519').privateKey;
  if (algorithm === 'ES256' || algorithm === 'ES384')
    return generateKeyPairSync('ec', { namedCurve: CURVES[algorithm] }).privateKey;
  return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
}

/** A key of our own becomes the one that signs. */
async function bringKey({ admin }: Place, algorithm: Algorithm): Promise<KeyObject> {
  const pem = generate(algorithm).export({ type: 'pkcs8', format: 'pem' });
  const imported = await mintmark(['keys', 'import', '-', '--algorithm', algorithm, '--admin', admin], {
    input: pem,
  });
  assert.equal(imported.code, 0, imported.stderr);
  const body = JSON.stringify({ algorithm, force: true });
  const rotated = await ask(admin, '/v1/keys/rotate', { method: 'POST', body });
  assert.equal(rotated.status, 200, rotated.text);
  return createPrivateKey(pem);
}

type Given = {
  readonly token: string;
  readonly key: KeyObject;
  readonly issuer: string;
  readonly stranger: string;
};

async function casesOf(algorithm: Algorithm, { token, key, issuer, stranger }: Given): Promise<Case[]> {
  const audience = audienceOf(algorithm);
  const { header, claims } = decode(token);
  assert.equal(header.alg, algorithm);
  const right: Question = { issuer, audience, token };
  const sign = (changed: Readonly<Record<string, unknown>>, by = key) =>
    new SignJWT({ ...claims, ...changed }).setProtectedHeader({ ...header, alg: algorithm }).sign(by);
  const past = { iat: claims.iat - HOUR, nbf: claims.nbf - HOUR, exp: claims.exp - HOUR };
  const future = { nbf: claims.nbf + HOUR, exp: claims.exp + HOUR };
  const [head = '', body = '', signature = ''] = token.split('.');
  const tampered = Buffer.from(JSON.stringify({ ...claims, sub: 'acme:admin' })).toString('base64url');
  const flipped = Buffer.from(signature, 'base64url');
  flipped[9] = (flipped[9] ?? 0) ^ 1;
  const cases = [
    { name: 'ours', question: right },
    { name: 'signed by the test as we do', question: { ...right, token: await sign({}) } },
    {
      name: 'another audience',
      question: { ...right, audience: 'https://other.example.com' },
      refusal: /aud/i,
    },
    {
      name: 'another issuer in the token',
      question: { ...right, token: await sign({ iss: stranger }) },
      refusal: /iss/i,
    },
    {
      name: 'sent to who trusts another issuer',
      question: { ...right, issuer: stranger },
      refusal: /iss|key|sign|alg/i,
    },
    { name: 'expired', question: { ...right, token: await sign(past) }, refusal: /expired|"exp"/i },
    {
      name: 'not valid yet',
      question: { ...right, token: await sign(future) },
      refusal: /nbf|before|not yet/i,
    },
    {
      name: 'other claims',
      question: { ...right, token: `${head}.${tampered}.${signature}` },
      refusal: /sign|verif/i,
    },
    {
      name: 'another signature',
      question: { ...right, token: `${head}.${body}.${flipped.toString('base64url')}` },
      refusal: /sign|verif/i,
    },
    {
      name: "another key under our key's name",
      question: { ...right, token: await sign({}, generate(algorithm)) },
      refusal: /sign|verif/i,
    },
  ];
  return cases.map((each) => ({ ...each, name: `${algorithm}, ${each.name}` }));
}
