/** Secrets of OAuth clients as they are stored. They are random and long, so a plain hash keeps them. */
import { hash as digest, timingSafeEqual } from 'node:crypto';

const PREFIX = 'sha256:';
const HASH = /^sha256:[A-Za-z0-9_-]{43}$/;

export function isHash(text: string): boolean {
  return HASH.test(text);
}

export function hashSecret(secret: string): string {
  return `${PREFIX}${digest('sha256', secret, 'base64url')}`;
}

/** In a time that says nothing about the hash. */
export function matchesHash(secret: string, hash: string): boolean {
  const given = Buffer.from(hashSecret(secret));
  const known = Buffer.from(hash);
  return known.length === given.length && timingSafeEqual(known, given);
}
