/** Revocation on command, of a key that may be the only one of its algorithm. */
import { IssuerError } from '../core/errors.ts';
import { activeKey, type KeyRing, revoke, rotate } from '../core/key-ring.ts';
import type { Algorithm } from '../core/ports.ts';
import type { LiveRing } from './live-ring.ts';

/**
 * Takes the key out at once. Where it signed and there was no next key, since the
 * ring was full, the one that is published in its place signs as soon as it is
 * stored. Throws `not_found`, and what the store throws; `temporarily_unavailable`
 * with the reason where the key is revoked and no other signs yet.
 */
export async function revokeKey(live: Pick<LiveRing, 'change'>, keyId: string): Promise<void> {
  let orphans: readonly Algorithm[] = [];
  await live.change((ring, now, settings) => {
    const left = revoke(ring, keyId, now, settings);
    const signs = (of: KeyRing) => (algorithm: Algorithm) => activeKey(of, algorithm) !== undefined;
    orphans = settings.algorithms.filter(signs(ring)).filter((algorithm) => !signs(left)(algorithm));
    return left;
  });
  for (const algorithm of orphans) {
    const promoted = live.change((ring, now, settings) => {
      const isTaken = activeKey(ring, algorithm) !== undefined; // another replica was quicker
      return isTaken ? ring : rotate(ring, algorithm, true, now, settings);
    });
    await promoted.catch((cause: unknown) => {
      const why = cause instanceof IssuerError ? cause.detail : String(cause);
      const reason = `key ${keyId} is revoked, and no ${algorithm} key signs in its place yet`;
      throw new IssuerError('temporarily_unavailable', `${reason}: ${why}`, { cause, shown: { reason } });
    });
  }
}
