/** Whose request it is, behind proxies that are trusted to say so. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

const FAMILY = { 4: 'ipv4', 6: 'ipv6' } as const;
const MAPPED = /^::ffff:(?=\d+\.)/i;

/** `10.0.0.0/8`, `fd00::/8` or one address; undefined where it is none. */
export function parseNetwork(text: string): { readonly address: string; readonly bits: number } | undefined {
  const [address = '', given, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return undefined;
  const most = version === 4 ? 32 : 128;
  const bits = given === undefined ? most : /^\d{1,3}$/.test(given) ? Number(given) : Number.NaN;
  return bits <= most ? { address, bits } : undefined;
}

/** The last address of X-Forwarded-For that no trusted proxy has; the connection's own where its end is not trusted. */
export function createAddressOf(networks: readonly string[]): (request: IncomingMessage) => string {
  const trusted = new BlockList();
  for (const network of networks) {
    const { address, bits } = parseNetwork(network) ?? { address: '::', bits: 128 };
    trusted.addSubnet(address, bits, FAMILY[isIP(address) as 4 | 6]);
  }
  const isTrusted = (address: string) => {
    const version = isIP(address);
    return version !== 0 && trusted.check(address, FAMILY[version as 4 | 6]);
  };
  return ({ socket, headers }) => {
    let nearest = plain(socket.remoteAddress ?? '');
    const forwarded = String(headers['x-forwarded-for'] ?? '').split(',');
    while (isTrusted(nearest)) {
      const next = addressIn(forwarded.pop() ?? '');
      // What is left of a hop that is no address may be made up.
      if (next === undefined) break;
      nearest = next;
    }
    return nearest;
  };
}

/** `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`; undefined for what is none, such as `unknown`. */
function addressIn(hop: string): string | undefined {
  const text = hop.trim();
  const [, bracketed, dotted] = /^(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)$/.exec(text) ?? [];
  const address = plain(bracketed ?? dotted ?? text);
  return isIP(address) === 0 ? undefined : address;
}

function plain(address: string): string {
  return address.replace(MAPPED, '');
}
