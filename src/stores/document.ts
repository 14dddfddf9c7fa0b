/** Rules that every store holds its documents to. */
import { IssuerError } from '../core/errors.ts';

/** A key ring or a certificate takes a few KiB; more than this is not ours. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024;

const NAME = /^[a-z0-9-]{1,63}$/;

/** Throws `server_error` unless the name is one of KeyStore's (core/key-ports.ts). */
export function assertDocumentName(name: string): void {
  if (!NAME.test(name)) {
    throw new IssuerError('server_error', `${JSON.stringify(name)} is not a name of a store's document`);
  }
}

/** Throws `server_error` where the document is larger than a store takes. */
export function assertDocumentSize(name: string, bytes: number): void {
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw new IssuerError(
      'server_error',
      `document ${name} has ${bytes} bytes; a store takes ${MAX_DOCUMENT_BYTES}`,
    );
  }
}

/** Throws `conflict` unless the document is where the writer thought it was. */
export function assertExpected(name: string, found: string | undefined, expected: string | undefined): void {
  if (found !== expected) {
    throw new IssuerError(
      'conflict',
      `document ${name} is at version ${found ?? 'none'}, not at ${expected ?? 'none'}`,
    );
  }
}
