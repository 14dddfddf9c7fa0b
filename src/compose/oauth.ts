/** What the OAuth door is handed, and what it asks of the keys. */
import type { Config } from '../config.ts';
import type { DecidedIssuer, Issuer } from '../core/issuer.ts';
import type { KeyStore, RingKey } from '../core/key-ports.ts';
import type { Attestor, Clock, Peer, SelectorKind } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';
import { type DoorName, doors } from '../doors/index.ts';
import type { OAuthAudit } from '../doors/oauth/parts.ts';
import type { OAuthContext } from '../doors/oauth.ts';
import type { LiveRing } from '../signers/live-ring.ts';
import { signWith } from '../signers/local.ts';
import type { Demands } from './keys.ts';
import type { Observers } from './observers.ts';
import { sharedSecret } from './secret.ts';

type Demanding = { readonly demands?: (block: unknown, issuer: string) => Demands };

/** What the configured doors want of the keys, and add to what is published. */
export async function doorDemands({ doors: blocks, issuer }: Config): Promise<Demands> {
  const each = await Promise.all(
    Object.entries(blocks).map(async ([name, block]) =>
      ((await doors[name as DoorName]()) as Demanding).demands?.(block, issuer),
    ),
  );
  const told = each.filter((demands) => demands !== undefined);
  return {
    metadata: Object.assign({}, ...told.map(({ metadata }) => metadata)),
    longestTtlSeconds: Math.max(0, ...told.map(({ longestTtlSeconds }) => longestTtlSeconds)),
    algorithms: told.flatMap(({ algorithms }) => algorithms),
  };
}

/** Which addresses are the internet's; loaded where somebody has something fetched. */
export const internet = () => import('../attestors/public-address.ts');

type AuditObservers = Pick<Observers, 'log' | 'recorder' | 'issuerNamed'>;

/** What the OAuth server of an issuer tells beside its tokens. */
export function oauthAudit({ log, recorder, issuerNamed }: AuditObservers, identifier: string): OAuthAudit {
  const issuer = issuerNamed(identifier);
  const refusal = { door: 'oauth', peer: undefined, code: 'access_denied', audience: [], issuer } as const;
  return {
    login: (event) => log.always({ door: 'oauth', iss: issuer, ...event }, 'login'),
    refused: (detail, { peer, workload } = {}) => recorder.refused({ ...refusal, peer, workload, detail }),
  };
}

export type OAuthContextParts = {
  readonly live: LiveRing;
  readonly store: KeyStore;
  readonly issuer: Issuer & DecidedIssuer;
  readonly attestor: Attestor;
  readonly clock: Clock;
  readonly records: () => Promise<RecordStore>;
  readonly observers: AuditObservers & Pick<Observers, 'warn'>;
};

export function oauthContext(parts: OAuthContextParts): Omit<OAuthContext, 'peerOf'> {
  const { live, store, issuer, attestor, clock, records, observers } = parts;
  return {
    issuer,
    clock,
    records,
    secret: (name: string) => sharedSecret(store, name),
    ring: () => live.current,
    warn: observers.warn,
    internet,
    audit: oauthAudit(observers, issuer.identifier),
    sign(key: RingKey, bytes: Uint8Array) {
      live.assertFresh();
      return signWith(key, bytes);
    },
    async attest(peer: Peer, wanted: ReadonlySet<SelectorKind>) {
      const workload = await attestor.attest(peer, wanted);
      attestor.confirm(peer, workload);
      return workload;
    },
  };
}
