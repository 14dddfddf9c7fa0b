import { IssuerError } from '../core/errors.ts';
import type { UnixPeer } from '../core/ports.ts';

/** A read of /proc that failed: most often because the process has ended. */
export function asIssuerError(error: unknown, peer: UnixPeer): IssuerError {
  if (error instanceof IssuerError) return error;
  try {
    peer.assertSame();
  } catch (changed) {
    if (changed instanceof IssuerError) return changed;
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EMFILE' || code === 'ENFILE')
    return new IssuerError('temporarily_unavailable', 'no descriptor is left', { cause: error });
  return new IssuerError('peer_unproven', `/proc could not be read: ${error}`, { cause: error });
}
