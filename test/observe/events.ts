/** Events as the issuer and the doors tell them. */
import type { Issuance, Peer, Refusal } from '../../src/core/ports.ts';

export const PEER: Peer = {
  kind: 'unix',
  pid: 4711,
  uid: 998,
  gid: 997,
  supplementaryGids: [],
  proc: undefined,
  assertSame: () => undefined,
};

export function issuance(change: Partial<Issuance> = {}): Issuance {
  return {
    door: 'fly',
    peer: PEER,
    issued: {
      token: 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhY21lOndlYiJ9.c2lnbmF0dXJl',
      keyId: 'k1',
      algorithm: 'ES256',
      rule: 'web may use AWS',
      claims: {
        iss: 'https://id.example.com',
        sub: 'acme:web',
        aud: 'sts.amazonaws.com',
        iat: 1_760_000_000,
        nbf: 1_759_999_940,
        exp: 1_760_000_600,
        jti: '3f0c1f5e-6a0a-4f1b-9f6e-1c2d3e4f5a6b',
        app_name: 'not for the log',
      },
    },
    attestSeconds: 0.000_035,
    totalSeconds: 0.000_41,
    ...change,
  };
}

export function refusal(change: Partial<Refusal> = {}): Refusal {
  return {
    door: 'fly',
    peer: PEER,
    code: 'invalid_target',
    detail: 'no rule allows it',
    audience: ['sts.amazonaws.com'],
    ...change,
  };
}
