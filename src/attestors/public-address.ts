/** Which addresses are the internet's: whoever names a host to us must not make us ask a neighbour (SSRF). */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** https://www.iana.org/assignments/iana-ipv4-special-registry: everything that is not globally reachable. */
const NOT_PUBLIC_V4 = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const;
/** Parts of 2000::/3 that are not, or that carry another address inside (Teredo, 6to4). */
const NOT_PUBLIC_V6 = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const;

const notPublic = new BlockList();
for (const [network, prefix] of NOT_PUBLIC_V4) notPublic.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of NOT_PUBLIC_V6) notPublic.addSubnet(network, prefix, 'ipv6');
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');
/** NAT64 (RFC 6052): how a network without IPv4 reaches it; the last 32 bits are the address. */
const nat64 = new BlockList();
nat64.addSubnet('64:ff9b::', 96, 'ipv6');

/** False for what is no address at all. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !notPublic.check(address, 'ipv4');
  if (isIP(address) !== 6 || address.includes('%')) return false;
  if (nat64.check(address, 'ipv6')) return isPublicAddress(embedded(address));
  return global.check(address, 'ipv6') && !notPublic.check(address, 'ipv6');
}

/**
 * For a connection to the internet only. What it answers is what is connected to: a name that changes
 * in between gains nothing.
 */
export function publicLookup(fault: (host: string) => Error): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, []);
      const [first, ...more] = found.filter(({ address }) => isPublicAddress(address));
      if (first === undefined) return callback(fault(hostname), []);
      if (options.all === true) return callback(null, [first, ...more]);
      callback(null, first.address, first.family);
    });
  };
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** `host` as a URL writes it. */
export function isLoopbackHost(host: string): boolean {
  const address = unbracketed(host);
  const family = isIP(address);
  return family === 0 ? address === 'localhost' : loopback.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** `[::1]` → `::1` */
export function unbracketed(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1');
}

/** The IPv4 address in the last 32 bits, in whichever way the address is written. */
function embedded(address: string): string {
  const dotted = /(?:^|:)(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const { hostname } = new URL(`http://[${address}]/`);
  const [high = 0, low = 0] = lastGroups(unbracketed(hostname));
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}

/** Of an address below 64:ff9b::/96, whose groups before them are zero. */
function lastGroups(address: string): readonly number[] {
  const [, tail = ''] = address.split('::');
  const groups = tail === '' ? [] : tail.split(':').map((group) => Number.parseInt(group, 16));
  return [0, 0, ...groups].slice(-2);
}
