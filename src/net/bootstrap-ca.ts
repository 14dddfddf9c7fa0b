/**
 * TLS for private networks without any certificate at hand: a CA of our own,
 * kept in the key store, and a server certificate that it renews. Clients trust
 * the CA once; it can vouch for the configured names only.
 */
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore } from '../core/key-ports.ts';
import type { EpochSeconds } from '../core/ports.ts';
import { buildCertificate } from './certificate.ts';
import type { TlsPair } from './tls.ts';

const CA_SECONDS = 3652 * 86400;
const SERVER_SECONDS = 30 * 86400;
/** Clocks of clients may be this far behind. */
const BACKDATED_SECONDS = 3600;

export type BootstrapCa = {
  /** The CA's certificate, for clients to trust. */
  readonly caPem: string;
  /** The server's certificate and key now. */
  current(): TlsPair;
  /** Makes a new server certificate once half of the last one's life is over; whether it did. */
  renew(now: EpochSeconds): boolean;
};

export type BootstrapOptions = {
  /** Where the CA lies in the store. */
  readonly document: string;
  /** DNS names and IP addresses that clients reach the server by. */
  readonly names: readonly string[];
  now(): EpochSeconds;
};

type Authority = {
  readonly privateKey: KeyObject;
  readonly certificate: X509Certificate;
  readonly names: readonly string[];
};

/**
 * Finds the CA in the store (already sealed) or makes it, and a server
 * certificate of 30 days. Throws `invalid_request` for a name that is none,
 * `server_error` where the stored CA cannot be used, and what the store throws.
 */
export async function openBootstrapCa(store: KeyStore, options: BootstrapOptions): Promise<BootstrapCa> {
  const names = checkNames(options.names);
  const { document } = options;
  const authority =
    (await readAuthority(store, document)) ?? (await makeAuthority(store, document, names, options.now()));
  assertVouchesFor(authority, names, document);
  let server = issueServer(authority, names, options.now(), document);
  return {
    caPem: authority.certificate.toString(),
    current: () => server.pair,
    renew(now) {
      if (now >= server.issuedAt && now < server.renewAt) return false;
      server = issueServer(authority, names, now, document);
      return true;
    },
  };
}

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

function checkNames(names: readonly string[]): readonly string[] {
  const wrong = names.find((name) => name.includes('%') || (isIP(name) === 0 && !DNS_NAME.test(name)));
  if (wrong !== undefined || names.length === 0) {
    throw new IssuerError(
      'invalid_request',
      `tls.bootstrap.names needs DNS names in lower case and IP addresses, not ${JSON.stringify(wrong ?? names)}`,
    );
  }
  const canonical = names.map((name) =>
    isIP(name) === 6 ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name,
  );
  return [...new Set(canonical)].sort();
}

async function readAuthority(store: KeyStore, document: string): Promise<Authority | undefined> {
  const found = await store.read(document);
  if (found === undefined) return undefined;
  const { buffer, byteOffset, byteLength } = found.bytes;
  return decodeAuthority(Buffer.from(buffer, byteOffset, byteLength), document);
}

async function makeAuthority(
  store: KeyStore,
  document: string,
  names: readonly string[],
  now: EpochSeconds,
): Promise<Authority> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = `Mintmark bootstrap CA ${fingerprintOf(publicKey)}`;
  const certificate = buildCertificate({
    role: 'ca',
    subject,
    publicKey,
    issuer: subject,
    issuerPublicKey: publicKey,
    issuerPrivateKey: privateKey,
    notBefore: now - BACKDATED_SECONDS,
    notAfter: now + CA_SECONDS,
    names,
  });
  const bytes = encodeAuthority({ privateKey, certificate, names });
  try {
    await store.write(document, bytes, undefined);
    return { privateKey, certificate, names };
  } catch (error) {
    if (!(error instanceof IssuerError && error.code === 'conflict')) throw error;
    const theirs = await readAuthority(store, document);
    if (theirs === undefined) throw error;
    return theirs;
  } finally {
    bytes.fill(0);
  }
}

const fingerprintOf = (key: KeyObject): string =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 8);

/** Exactly the name, or for DNS a name below it (RFC 5280 section 4.2.1.10). */
const isWithin = (name: string, permitted: string): boolean =>
  name === permitted || (isIP(permitted) === 0 && isIP(name) === 0 && name.endsWith(`.${permitted}`));

function assertVouchesFor(authority: Authority, names: readonly string[], document: string): void {
  const beyond = names.filter((name) => !authority.names.some((permitted) => isWithin(name, permitted)));
  if (beyond.length === 0) return;
  throw new IssuerError(
    'server_error',
    `the bootstrap CA was made for ${authority.names.join(', ')} and cannot vouch for ${beyond.join(', ')}: ${anew(document)}`,
  );
}

const anew = (document: string) =>
  `remove the document ${document} from the key store (in a directory: all files ${document}.*) to have a new CA made, which every client must then be given`;

type IssuedServer = {
  readonly pair: TlsPair;
  readonly issuedAt: EpochSeconds;
  readonly renewAt: EpochSeconds;
};

function issueServer(
  authority: Authority,
  names: readonly string[],
  now: EpochSeconds,
  document: string,
): IssuedServer {
  const caEndsAt = Math.floor(Date.parse(authority.certificate.validTo) / 1000);
  if (now >= caEndsAt) {
    throw new IssuerError(
      'server_error',
      `the bootstrap CA expired on ${authority.certificate.validTo}: ${anew(document)}`,
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const notAfter = Math.min(now + SERVER_SECONDS, caEndsAt);
  const certificate = buildCertificate({
    role: 'server',
    subject: 'Mintmark server',
    publicKey,
    issuer: authority.certificate.subject.replace(/^CN=/, ''),
    issuerPublicKey: authority.certificate.publicKey,
    issuerPrivateKey: authority.privateKey,
    notBefore: now - BACKDATED_SECONDS,
    notAfter,
    names,
  });
  const key = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }), 'latin1');
  const pair = { cert: Buffer.from(certificate.toString(), 'latin1'), key };
  return { pair, issuedAt: now, renewAt: now + Math.ceil((notAfter - now) / 2) };
}

/** "MMBOOT1", then the key (PKCS#8 DER), the certificate (DER) and the names (JSON), each after its length in 4 bytes. */
const OPENING = Buffer.from('MMBOOT1', 'latin1');

function encodeAuthority(authority: Authority): Buffer {
  const key = authority.privateKey.export({ type: 'pkcs8', format: 'der' });
  const parts = [key, authority.certificate.raw, Buffer.from(JSON.stringify(authority.names), 'utf8')];
  const lengthOf = (part: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return length;
  };
  const bytes = Buffer.concat([OPENING, ...parts.flatMap((part) => [lengthOf(part), part])]);
  key.fill(0);
  return bytes;
}

/** Wipes the bytes. Throws `server_error`. */
function decodeAuthority(bytes: Buffer, document: string): Authority {
  try {
    if (!bytes.subarray(0, OPENING.length).equals(OPENING)) throw new Error('unknown format');
    let at = OPENING.length;
    const part = () => {
      const start = at + 4;
      at = start + bytes.readUInt32BE(at);
      return bytes.subarray(start, at);
    };
    const privateKey = createPrivateKey({ key: part(), format: 'der', type: 'pkcs8' });
    const certificate = new X509Certificate(part());
    const names: readonly string[] = JSON.parse(part().toString('utf8'));
    if (!certificate.ca || !certificate.checkPrivateKey(privateKey))
      throw new Error('key and certificate differ');
    return { privateKey, certificate, names };
  } catch (error) {
    throw new IssuerError('server_error', `the document ${document} of the key store holds no CA`, {
      cause: error,
    });
  } finally {
    bytes.fill(0);
  }
}
