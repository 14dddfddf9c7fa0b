/**
 * X.509 certificates of our own making (RFC 5280): node-forge writes the ASN.1,
 * node:crypto signs. Nothing foreign is parsed here.
 */
import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import forge from 'node-forge';
import type { EpochSeconds } from '../core/ports.ts';

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;
const { SEQUENCE, SET, OID, INTEGER, BOOLEAN, BITSTRING, OCTETSTRING, UTF8 } = asn1.Type;

const OIDS = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

export type CertificateRequest = {
  readonly subject: string;
  /** P-256. */
  readonly publicKey: KeyObject;
  readonly issuer: string;
  /** The issuer's P-256 keys. */
  readonly issuerPublicKey: KeyObject;
  readonly issuerPrivateKey: KeyObject;
  readonly notBefore: EpochSeconds;
  readonly notAfter: EpochSeconds;
  /** DNS names and IP addresses, the latter without embedded IPv4. */
  readonly names: readonly string[];
  /** A CA that may vouch for `names` and what is below them, or a server that has them. */
  readonly role: 'ca' | 'server';
};

/** Signs with ECDSA P-256 and SHA-256 (RFC 5758 section 3.2). */
export function buildCertificate(request: CertificateRequest): X509Certificate {
  const algorithm = sequence(oid(OIDS.ecdsaWithSha256));
  const tbs = sequence(
    tagged(0, [primitive(INTEGER, '\x02')]), // version 3
    primitive(INTEGER, serialNumber()),
    algorithm,
    distinguishedName(request.issuer),
    sequence(time(request.notBefore), time(request.notAfter)),
    distinguishedName(request.subject),
    asn1.fromDer(binary(spkiOf(request.publicKey))),
    tagged(3, [sequence(...(request.role === 'ca' ? caExtensions(request) : serverExtensions(request)))]),
  );
  const signature = sign('sha256', derOf(tbs), request.issuerPrivateKey);
  return new X509Certificate(derOf(sequence(tbs, algorithm, primitive(BITSTRING, `\0${binary(signature)}`))));
}

function caExtensions(request: CertificateRequest): Asn1[] {
  return [
    extension(OIDS.basicConstraints, true, sequence(primitive(BOOLEAN, '\xff'), primitive(INTEGER, '\0'))),
    extension(OIDS.keyUsage, true, primitive(BITSTRING, '\x01\x06')), // keyCertSign, cRLSign
    extension(OIDS.subjectKeyIdentifier, false, primitive(OCTETSTRING, keyIdentifier(request.publicKey))),
    extension(OIDS.nameConstraints, true, nameConstraints(request.names)),
  ];
}

function serverExtensions(request: CertificateRequest): Asn1[] {
  return [
    extension(OIDS.basicConstraints, true, sequence()),
    extension(OIDS.keyUsage, true, primitive(BITSTRING, '\x07\x80')), // digitalSignature
    extension(OIDS.extKeyUsage, false, sequence(oid(OIDS.serverAuth))),
    extension(OIDS.subjectAltName, false, sequence(...request.names.map((name) => generalName(name)))),
    extension(OIDS.subjectKeyIdentifier, false, primitive(OCTETSTRING, keyIdentifier(request.publicKey))),
    extension(
      OIDS.authorityKeyIdentifier,
      false,
      sequence(taggedPrimitive(0, keyIdentifier(request.issuerPublicKey))),
    ),
  ];
}

/** Section 4.2.1.10: a kind of name that is not permitted by name is excluded whole, else it would be free. */
function nameConstraints(names: readonly string[]): Asn1 {
  const permitted = names.map((name) => sequence(generalName(name, isIP(name) === 0 ? '' : hostMask(name))));
  const excluded: Asn1[] = [];
  if (names.every((name) => isIP(name) !== 0)) excluded.push(sequence(taggedPrimitive(DNS_NAME, '')));
  if (!names.some((name) => isIP(name) === 4))
    excluded.push(sequence(taggedPrimitive(IP_ADDRESS, '\0'.repeat(8))));
  if (!names.some((name) => isIP(name) === 6))
    excluded.push(sequence(taggedPrimitive(IP_ADDRESS, '\0'.repeat(32))));
  return sequence(tagged(0, permitted), ...(excluded.length > 0 ? [tagged(1, excluded)] : []));
}

const DNS_NAME = 2;
const IP_ADDRESS = 7;

/** Missing from node-forge's types. */
const { bytesFromIP: addressBytes } = forge.util as unknown as { bytesFromIP(address: string): string };

const hostMask = (address: string): string => '\xff'.repeat(isIP(address) === 4 ? 4 : 16);

function generalName(name: string, mask = ''): Asn1 {
  return isIP(name) === 0
    ? taggedPrimitive(DNS_NAME, name)
    : taggedPrimitive(IP_ADDRESS, `${addressBytes(name)}${mask}`);
}

const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

/** RFC 7093 section 2, method 4 cut to the usual 20 bytes: a hash of the whole SubjectPublicKeyInfo. */
const keyIdentifier = (key: KeyObject): string =>
  binary(createHash('sha256').update(spkiOf(key)).digest().subarray(0, 20));

/** 127 random bits with a leading one: positive, and never a byte too long (section 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return binary(bytes);
}

/** Section 4.1.2.5: UTCTime until 2049, GeneralizedTime after it. */
function time(seconds: EpochSeconds): Asn1 {
  const date = new Date(seconds * 1000);
  return date.getUTCFullYear() < 2050
    ? primitive(asn1.Type.UTCTIME, asn1.dateToUtcTime(date))
    : primitive(asn1.Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date));
}

const distinguishedName = (commonName: string): Asn1 =>
  sequence(asn1.create(UNIVERSAL, SET, true, [sequence(oid(OIDS.commonName), primitive(UTF8, commonName))]));

const extension = (id: string, critical: boolean, value: Asn1): Asn1 =>
  sequence(
    oid(id),
    ...(critical ? [primitive(BOOLEAN, '\xff')] : []),
    primitive(OCTETSTRING, binary(derOf(value))),
  );

const sequence = (...items: Asn1[]): Asn1 => asn1.create(UNIVERSAL, SEQUENCE, true, items);
const primitive = (type: forge.asn1.Type, bytes: string): Asn1 => asn1.create(UNIVERSAL, type, false, bytes);
const oid = (dotted: string): Asn1 => primitive(OID, asn1.oidToDer(dotted).getBytes());
const tagged = (tag: number, items: Asn1[]): Asn1 => asn1.create(CONTEXT_SPECIFIC, tag, true, items);
const taggedPrimitive = (tag: number, bytes: string): Asn1 =>
  asn1.create(CONTEXT_SPECIFIC, tag, false, bytes);

/** node-forge's bytes are strings of characters up to 0xff. */
const binary = (bytes: Buffer): string => bytes.toString('latin1');
const derOf = (value: Asn1): Buffer => Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
