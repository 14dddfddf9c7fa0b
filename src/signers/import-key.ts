/**
 * A private key that the operator brings along. The keys themselves are
 * decrypted and checked by node:crypto and never become strings; of node-forge
 * only the ASN.1 reader is used, to find the key in a PKCS#12 file.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type forge from 'node-forge';
import { IssuerError } from '../core/errors.ts';
import type { Algorithm } from '../core/ports.ts';

export type ImportedKey = {
  readonly privateKey: KeyObject;
  /** What the key can sign with, the usual one first. */
  readonly algorithms: readonly [Algorithm, ...Algorithm[]];
};

const MAX_FILE_BYTES = 1024 * 1024;
const MIN_RSA_BITS = 2048;

/**
 * Reads PEM (PKCS#8, also encrypted, PKCS#1, SEC 1) or PKCS#12 (RFC 7292) with
 * exactly one private key: RSA from 2048 bits, P-256, P-384 or Ed25519. The
 * caller wipes `bytes` and `passphrase`. Throws `invalid_request`, which says
 * why and how to mend it, and nothing of the content.
 */
export async function parseKeyFile(bytes: Buffer, passphrase?: Buffer): Promise<ImportedKey> {
  if (bytes.length > MAX_FILE_BYTES) throw refuse('is too large for a key');
  const privateKey = isPkcs12(bytes) ? await parsePkcs12(bytes, passphrase) : parsePem(bytes, passphrase);
  const algorithms = algorithmsOf(privateKey);
  assertSound(privateKey);
  return { privateKey, algorithms };
}

const refuse = (why: string, cause?: unknown): IssuerError =>
  new IssuerError('invalid_request', `the key file ${why}`, { cause });

function parsePem(bytes: Buffer, passphrase: Buffer | undefined): KeyObject {
  const labels = pemLabels(bytes).filter((label) => label.endsWith('PRIVATE KEY'));
  if (labels.length === 0) throw refuse('holds no private key in PEM and is no PKCS#12');
  if (labels.length > 1) throw refuse('holds more than one private key: give one of them');
  if (labels[0] === 'OPENSSH PRIVATE KEY') {
    throw refuse("is in OpenSSH's own format: ssh-keygen -p -m PKCS8 -f FILE makes it PKCS#8");
  }
  const encrypted = labels[0]?.startsWith('ENCRYPTED') || bytes.includes('Proc-Type: 4,ENCRYPTED');
  return decodeKey(bytes, encrypted ?? false, passphrase, { format: 'pem' });
}

/** What stands in the BEGIN lines. */
function pemLabels(bytes: Buffer): string[] {
  const opening = '-----BEGIN ';
  const labels: string[] = [];
  for (let at = bytes.indexOf(opening); at !== -1; at = bytes.indexOf(opening, at + 1)) {
    const start = at + opening.length;
    const label = bytes.toString('latin1', start, start + 40);
    labels.push(label.slice(0, Math.max(0, label.indexOf('-----'))));
  }
  return labels;
}

type Encoding = { readonly format: 'pem' } | { readonly format: 'der'; readonly type: 'pkcs8' };

function decodeKey(
  key: Buffer,
  encrypted: boolean,
  passphrase: Buffer | undefined,
  encoding: Encoding,
): KeyObject {
  if (encrypted && passphrase === undefined) throw refuse('is encrypted: its passphrase is needed');
  try {
    return createPrivateKey({ key, ...encoding, ...(encrypted && passphrase ? { passphrase } : {}) });
  } catch (error) {
    const why = encrypted
      ? 'cannot be decrypted: the passphrase is wrong, the file is damaged, or its cipher is one that OpenSSL no longer has'
      : 'is damaged, or its key is of an unknown kind';
    throw refuse(why, error);
  }
}

/** PFX: a SEQUENCE that begins with the INTEGER 3 (section 4); PKCS#8 and the others begin with 0 or 1. */
function isPkcs12(bytes: Buffer): boolean {
  const lengthBytes = bytes[1] === undefined || bytes[1] <= 0x80 ? 0 : bytes[1] - 0x80;
  const version = bytes.subarray(2 + lengthBytes, 5 + lengthBytes);
  return bytes[0] === 0x30 && lengthBytes <= 4 && version.equals(Buffer.of(2, 1, 3));
}

const DATA = '1.2.840.113549.1.7.1';
const KEY_BAG = '1.2.840.113549.1.12.10.1.1';
const SHROUDED_KEY_BAG = '1.2.840.113549.1.12.10.1.2';

async function parsePkcs12(bytes: Buffer, passphrase: Buffer | undefined): Promise<KeyObject> {
  const bags = await readKeyBags(bytes);
  const [bag] = bags;
  try {
    if (bag === undefined) throw refuse('is a PKCS#12 without a private key that could be found');
    if (bags.length > 1) throw refuse('is a PKCS#12 with more than one private key: export one of them');
    // "Without a passphrase" is in most programs an empty one.
    return decodeKey(bag.der, bag.encrypted, passphrase ?? Buffer.alloc(0), { format: 'der', type: 'pkcs8' });
  } finally {
    for (const { der } of bags) der.fill(0);
  }
}

type KeyBag = { readonly encrypted: boolean; readonly der: Buffer };

/**
 * The key bags of the parts that are not encrypted as a whole: every program
 * puts them there, each encrypted by itself. The file's MAC is not checked
 * (node:crypto has no such key derivation); a key proves itself by signing.
 */
async function readKeyBags(bytes: Buffer): Promise<KeyBag[]> {
  const { asn1 } = (await import('node-forge')).default;
  const itemsOf = (value: forge.asn1.Asn1 | undefined): forge.asn1.Asn1[] =>
    Array.isArray(value?.value) ? value.value : [];
  /** BER may cut a string into pieces. */
  const octetsOf = (value: forge.asn1.Asn1 | undefined): string =>
    typeof value?.value === 'string' ? value.value : itemsOf(value).map(octetsOf).join('');
  const oidOf = (value: forge.asn1.Asn1 | undefined) => asn1.derToOid(octetsOf(value));
  /** ContentInfo: its type, and within [0] an OCTET STRING of more ASN.1. */
  const openData = (info: forge.asn1.Asn1 | undefined): forge.asn1.Asn1[] => {
    const [type, content] = itemsOf(info);
    return oidOf(type) === DATA ? itemsOf(asn1.fromDer(octetsOf(itemsOf(content)[0]))) : [];
  };
  try {
    const [, authSafe] = itemsOf(asn1.fromDer(bytes.toString('latin1')));
    return openData(authSafe)
      .flatMap(openData)
      .flatMap((safeBag) => {
        const [type, value] = itemsOf(safeBag);
        const [key] = itemsOf(value);
        const kind = oidOf(type);
        if (key === undefined || (kind !== KEY_BAG && kind !== SHROUDED_KEY_BAG)) return [];
        return [
          { encrypted: kind === SHROUDED_KEY_BAG, der: Buffer.from(asn1.toDer(key).getBytes(), 'latin1') },
        ];
      });
  } catch {
    // No cause: node-forge's errors may carry pieces of what it read.
    throw refuse('is a PKCS#12 that is damaged or cut off');
  }
}

function algorithmsOf(key: KeyObject): ImportedKey['algorithms'] {
  const { modulusLength = 0, namedCurve = 'on a curve without a name' } = key.asymmetricKeyDetails ?? {};
  const type = key.asymmetricKeyType;
  if (type === 'rsa' && modulusLength >= MIN_RSA_BITS) return ['RS256', 'PS256'];
  if (type === 'ec' && namedCurve === 'prime256v1') return ['ES256'];
  if (type === 'ec' && namedCurve === 'secp384r1') return ['ES384'];
  if (type === 'ed25519') return ['EdDSA'];
  const name = { rsa: `rsa ${modulusLength} bits`, ec: `ec ${namedCurve}` }[String(type)] ?? type;
  throw refuse(
    `holds a key of the kind ${name}: RSA from ${MIN_RSA_BITS} bits, P-256, P-384 and Ed25519 are taken`,
  );
}

/** What the private half signs, the public half must verify: a file may hold numbers that are no key. */
function assertSound(key: KeyObject): void {
  const message = Buffer.from('mintmark');
  const digest = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  try {
    if (verify(digest, message, createPublicKey(key), sign(digest, message, key))) return;
  } catch (error) {
    throw refuse('holds a key that cannot sign: it is damaged', error);
  }
  throw refuse('holds a key whose two halves do not belong together: it is damaged');
}
