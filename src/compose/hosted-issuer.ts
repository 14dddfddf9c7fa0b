/** One issuer that a door has made: its ring, and the OAuth server on it once somebody needs that. */
import { randomUUID } from 'node:crypto';
import type { AttestorContext } from '../attestors/index.ts';
import type { Config } from '../config.ts';
import { IssuerError } from '../core/errors.ts';
import { createIssuer } from '../core/issuer.ts';
import type { KeyMaterial, KeyStore, RingKey } from '../core/key-ports.ts';
import type { KeyRing } from '../core/key-ring.ts';
import type { Policy } from '../core/policy.ts';
import type { Clock, Peer, Recorder, SelectorKind } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';
import * as admin from '../doors/admin.ts';
import type { Route } from '../doors/door.ts';
import { type OpenEngine, openEngine } from '../doors/oauth/engine.ts';
import { metadata } from '../doors/oauth/metadata.ts';
import type { OAuthAudit } from '../doors/oauth/parts.ts';
import type { HostedSpec, HostHooks } from '../doors/vultr/parts.ts';
import type { VultrConfig } from '../doors/vultr/settings.ts';
import { open as openSigner, signWith } from '../signers/local.ts';
import { exchangePolicy, oauthSettings } from './hosted-settings.ts';
import { cacheForSeconds, openUntended, type Ring } from './keys.ts';
import { internet } from './oauth.ts';
import { type FindTrusted, trustingAttestor } from './trust.ts';

export type HostedParts = {
  readonly config: Config;
  readonly block: VultrConfig;
  readonly store: KeyStore;
  readonly records: RecordStore;
  readonly clock: Clock;
  readonly secret: Uint8Array;
  readonly recorder: Recorder;
  readonly audit: (issuer: string) => OAuthAudit;
  readonly ringChanged: (ring: KeyRing, issuer: string) => void;
  readonly attestor: AttestorContext;
  readonly findTrusted: (spec: HostedSpec) => FindTrusted;
  readonly exists: HostHooks['exists'];
  readonly warn: (message: string) => void;
  readonly onFault: (operation: 'read' | 'write', error: unknown) => void;
  readonly takeKey: (algorithm: KeyMaterial['algorithm']) => Promise<KeyMaterial>;
};

export type Hosted = {
  readonly spec: HostedSpec;
  readonly ring: Ring;
  engine(): Promise<OpenEngine>;
  adminRoutes(): Promise<readonly Route[]>;
  /** From now on nothing is signed, also for calls in flight. */
  end(): void;
};

/** Endpoints that are not among the API's. */
const HIDDEN = ['device_authorization_endpoint', 'pushed_authorization_request_endpoint'];
/** An ID token's life, which the OAuth server has fixed. */
const ID_TOKEN_SECONDS = 600;

export function documentOf({ ring }: HostedSpec): string {
  return `issuer-${ring}`;
}

/** `first`: it is new, and this key is to be its first; undefined: it was made before. */
export async function openHosted(
  parts: HostedParts,
  spec: HostedSpec,
  takeKey?: HostedParts['takeKey'],
): Promise<Hosted> {
  const { config, block, store, clock } = parts;
  const policy = exchangePolicy(block, spec);
  let isLoaded = false;
  const ring = await openUntended({
    ...{ identifier: spec.identifier, document: documentOf(spec), store, config, clock },
    onFault: faultsOf(parts, spec),
    policy: () => policy,
    demands: {
      metadata: spec.provider === undefined ? {} : shownMetadata(parts, spec),
      longestTtlSeconds: Math.max(block.accessTokenTtl, ID_TOKEN_SECONDS),
      algorithms: [],
    },
    onRing(changed) {
      if (isLoaded) parts.ringChanged(changed, spec.identifier);
      isLoaded = true;
    },
    generateKey: takeKey ?? parts.takeKey,
    mustExist: takeKey === undefined,
  });
  let isEnded = false;
  let engine: Promise<OpenEngine> | undefined;
  const assertFresh = () => {
    if (isEnded) throw new IssuerError('not_found', 'the issuer was removed');
    ring.live.assertFresh();
  };
  const hosted: Hosted = {
    ...{ spec, ring },
    engine() {
      engine ??= openOAuth(parts, spec, { policy, ring, assertFresh });
      return engine;
    },
    async adminRoutes() {
      const { people } = (await hosted.engine()).engine;
      return [...people.adminRoutes, ...keyRoutes(ring, config)];
    },
    end() {
      isEnded = true;
    },
  };
  return hosted;
}

/** A ring that is gone with its provider, which another replica removes, is no loss. */
function faultsOf({ exists, onFault }: HostedParts, spec: HostedSpec): HostedParts['onFault'] {
  return async (operation, error) => {
    const mayBeGone = operation === 'read' && error instanceof IssuerError && error.code === 'server_error';
    if (!mayBeGone || (await exists(spec).catch(() => true))) onFault(operation, error);
  };
}

function shownMetadata({ config, block }: HostedParts, spec: HostedSpec) {
  const all = Object.entries(metadata(oauthSettings(config, block, spec), spec.identifier));
  return Object.fromEntries(all.filter(([name]) => !HIDDEN.includes(name)));
}

type Opened = { readonly policy: Policy; readonly ring: Ring; readonly assertFresh: () => void };

async function openOAuth(
  parts: HostedParts,
  spec: HostedSpec,
  { policy, ring: { live }, assertFresh }: Opened,
): Promise<OpenEngine> {
  const { config, block, clock, records, secret, recorder, warn } = parts;
  const attestor = trustingAttestor(parts.findTrusted(spec), parts.attestor);
  const audit = parts.audit(spec.identifier);
  const issuer = createIssuer({
    ...{ identifier: spec.identifier, attestor, recorder, clock, policy: () => policy },
    signer: openSigner({ ring: () => live.current, assertFresh }),
    createTokenId: randomUUID,
  });
  return openEngine({
    ...{ config: oauthSettings(config, block, spec), issuer, records, clock, secret, warn, audit, internet },
    ring: () => live.current,
    usersOf: block.users === 'shared' ? config.issuer : undefined,
    isTrusted: true,
    async sign(key: RingKey, bytes: Uint8Array) {
      assertFresh();
      return signWith(key, bytes);
    },
    async attest(peer: Peer, wanted: ReadonlySet<SelectorKind>) {
      const workload = await attestor.attest(peer, wanted);
      attestor.confirm(peer, workload);
      return workload;
    },
  });
}

function keyRoutes(ring: Ring, config: Config): readonly Route[] {
  const { routes } = admin.open({
    ...ring,
    keys: () => ring.live.current.keys,
    now: () => ring.live.now(),
    settings: () => ({ ...ring.settings(), cacheForSeconds: cacheForSeconds(config) }),
    caCertificate: () => undefined,
  });
  return routes.filter(({ path }) => path !== '/v1/ca');
}
