/** Whoever an issuer vouches for that was registered while the server runs, by the attestor of trusted issuers. */
import type { AttestorContext } from '../attestors/index.ts';
import * as jwt from '../attestors/jwt.ts';
import type { JwtSettings } from '../attestors/jwt-settings.ts';
import { parseToken, unaccepted } from '../attestors/jwt-verify.ts';
import { IssuerError } from '../core/errors.ts';
import type { AssertionPeer, Attestor, Workload } from '../core/ports.ts';
import type { TrustedIssuer } from '../doors/vultr/parts.ts';

export type FindTrusted = (issuer: string, isFresh: boolean) => Promise<TrustedIssuer | undefined>;

const DAY = 86_400;
const SETTINGS = {
  allowPrivate: false,
  algorithms: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
  types: ['JWT', 'at+jwt'],
  claims: [],
  maxAgeSeconds: DAY,
  clockSkewSeconds: 60,
} satisfies Partial<JwtSettings['issuers'][string]>;

/** Keys are asked for anew where a token names one that is not known. */
export function trustingAttestor(find: FindTrusted, context: AttestorContext): Attestor {
  async function attest(peer: AssertionPeer): Promise<Workload> {
    const { claims, keyId } = parseToken(peer.token);
    const uri = typeof claims.iss === 'string' ? claims.iss : '';
    const known = await find(uri, false);
    const isMissing = !(known?.keys.some(({ kid }) => keyId === undefined || kid === keyId) ?? true);
    const issuer = isMissing ? await find(uri, true) : known;
    if (issuer === undefined) throw unaccepted('its issuer is not trusted here');
    const jwks = { keys: [...issuer.keys] };
    const settings = { [issuer.id]: { ...SETTINGS, issuer: uri, jwks } } as JwtSettings['issuers'];
    const attestor = await jwt.open({ issuers: settings }, context);
    return attestor.attest(peer, new Set());
  }
  return {
    kinds: jwt.kinds,
    peers: ['assertion'],
    attest: (peer) => {
      if (peer.kind === 'assertion') return attest(peer);
      throw new IssuerError('peer_unproven', `no attestor knows a ${peer.kind} peer`);
    },
    confirm(_peer, { expiresAt }) {
      if (expiresAt === undefined || expiresAt <= context.clock.now()) throw unaccepted('it has expired');
    },
    close: async () => undefined,
  };
}
