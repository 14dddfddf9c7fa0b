/** Another issuer with real keys: its JWKS, and tokens of any shape by its keys. */
import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto';
import * as v from 'valibot';
import type { AttestorContext } from '../../src/attestors/index.ts';
import { config, open } from '../../src/attestors/jwt.ts';
import type { AssertionPeer, Attestor, ClaimSet, OwnIssuer } from '../../src/core/ports.ts';
import { type FakeClock, fakeClock } from './clock.ts';

export const OTHER = 'https://other.example.com';
export const US = 'https://id.example.com';

export type FakeKey = {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** Without `kid` and `alg`. */
  readonly jwk: Readonly<Record<string, unknown>>;
};

export function makeKey(alg: string, kid = `${alg}-1`): FakeKey {
  const { privateKey, publicKey } = alg.startsWith('ES')
    ? generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]! })
    : /^Ed/.test(alg)
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { kid, alg, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }) } };
}

export const published = ({ jwk, kid, alg }: FakeKey) => ({ ...jwk, kid, alg, use: 'sig' });

export const base64url = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** The parts are texts where they are to be no sound JSON. */
export function compact(header: unknown, payload: unknown, sign: (input: Buffer) => Buffer): string {
  const input = `${base64url(header)}.${base64url(payload)}`;
  return `${input}.${sign(Buffer.from(input)).toString('base64url')}`;
}

export function signer({ alg, privateKey }: FakeKey): (input: Buffer) => Buffer {
  const digest = /^Ed/.test(alg) ? null : `sha${alg.slice(2)}`;
  const pss = alg.startsWith('PS') ? { padding: 6, saltLength: Number(alg.slice(2)) / 8 } : {};
  return (input) => signBytes(digest, input, { key: privateKey, dsaEncoding: 'ieee-p1363', ...pss });
}

export const hmac = (secret: string | Buffer) => (input: Buffer) =>
  createHmac('sha256', secret).update(input).digest();

export type Minted = { readonly header?: ClaimSet; readonly claims?: ClaimSet };

/** A sound token but for what is given; a claim that is undefined is left out. */
export function mint(key: FakeKey, now: number, { header = {}, claims = {} }: Minted = {}): string {
  const sound = { iss: OTHER, sub: 'job-1', aud: US, iat: now, nbf: now, exp: now + 300, jti: 'j-1' };
  return compact({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header }, { ...sound, ...claims }, signer(key));
}

export type JwtFixture = {
  readonly attestor: Attestor<AssertionPeer>;
  readonly clock: FakeClock;
  readonly warnings: string[];
  readonly fetches: [string, boolean][];
};

/** The attestor as it is configured. */
export async function openJwt(
  issuers: Readonly<Record<string, unknown>>,
  parts: { readonly own?: OwnIssuer | undefined; readonly clock?: FakeClock } = {},
): Promise<JwtFixture> {
  const clock = parts.clock ?? fakeClock();
  const warnings: string[] = [];
  const fetches: [string, boolean][] = [];
  const context: AttestorContext = {
    clock,
    own: 'own' in parts ? parts.own : { identifier: US, keys: () => [] },
    warn: (message) => void warnings.push(message),
    onKeysFetched: (...fetch) => void fetches.push(fetch),
    kubernetes: async () => {
      throw new Error('none is here');
    },
  };
  const attestor = await open(v.parse(config, { issuers }), context);
  return { attestor, clock, warnings, fetches };
}

export const peerOf = (token: string, more: Partial<AssertionPeer> = {}): AssertionPeer => ({
  kind: 'assertion',
  token,
  audiences: [US],
  ...more,
});
