/** AWS Signature Version 4, the verifier's half, for requests that carry it in the header `Authorization`. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

export type SignedRequest = {
  readonly method: string;
  /** As it stands on the wire, with its query. */
  readonly url: string;
  /** Names and values in turn, as node:http has them. */
  readonly rawHeaders: readonly string[];
  readonly body: Uint8Array;
};

export type Authorization = {
  readonly accessKeyId: string;
  /** YYYYMMDD. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: Buffer;
};

const HEADER =
  /^AWS4-HMAC-SHA256 +Credential=([\w]{16,128})\/(\d{8})\/([a-z0-9-]{1,32})\/([a-z0-9-]{1,64})\/aws4_request *, *SignedHeaders=([a-z0-9;-]{1,2000}) *, *Signature=([0-9a-f]{64})$/;

/** Undefined where it is none of this algorithm. */
export function parseAuthorization(header: string | undefined): Authorization | undefined {
  const [, accessKeyId = '', date = '', region = '', service = '', names = '', signature = ''] =
    HEADER.exec(header ?? '') ?? [];
  if (accessKeyId === '') return undefined;
  return {
    ...{ accessKeyId, date, region, service },
    signedHeaders: names.split(';'),
    signature: Buffer.from(signature, 'hex'),
  };
}

/** 20261125T133200Z, in seconds; undefined where it is no such time. */
export function parseDate(text: string | undefined): number | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text ?? '');
  if (parts === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

/** All values of a header, joined as they are signed; undefined where there are none. */
export function headerOf({ rawHeaders }: SignedRequest, name: string): string | undefined {
  const values = rawHeaders.filter((_, index) => {
    const isValue = index % 2 === 1;
    return isValue && rawHeaders[index - 1]?.toLowerCase() === name;
  });
  return values.length === 0 ? undefined : values.map((value) => value.trim().replace(/\s+/g, ' ')).join(',');
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Uint8Array, data: string) => createHmac('sha256', key).update(data).digest();

/** In a time that says nothing about the right signature. The body is bound by its own hash, whatever a header says. */
export function isSignedBy(secret: string, request: SignedRequest, given: Authorization): boolean {
  return timingSafeEqual(given.signature, signatureOf(secret, request, given));
}

/** Tasks 1 to 3 of the algorithm. */
export function signatureOf(
  secret: string,
  request: SignedRequest,
  { date, region, service, signedHeaders }: Omit<Authorization, 'signature' | 'accessKeyId'>,
): Buffer {
  const scope = `${date}/${region}/${service}/aws4_request`;
  const canonical = canonicalRequest(request, signedHeaders);
  const toSign = ['AWS4-HMAC-SHA256', headerOf(request, 'x-amz-date') ?? '', scope, sha256(canonical)];
  const key = [date, region, service, 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${secret}`);
  return hmac(key, toSign.join('\n'));
}

function canonicalRequest(request: SignedRequest, signedHeaders: readonly string[]): string {
  const [path = '', query = ''] = request.url.split(/\?(.*)/s);
  return [
    request.method,
    path.split('/').map(encode).join('/'),
    canonicalQuery(query),
    ...signedHeaders.map((name) => `${name}:${headerOf(request, name) ?? ''}`),
    '',
    signedHeaders.join(';'),
    sha256(request.body),
  ].join('\n');
}

function canonicalQuery(query: string): string {
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [name = '', value = ''] = pair.split(/=(.*)/s);
      return [encode(decode(name)), encode(decode(value))] as const;
    });
  return pairs
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

const compare = (a: string, b: string) => (a < b ? -1 : Number(a > b));

/** All but RFC 3986's unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
