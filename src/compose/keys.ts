/** The key ring of the configured issuer: its store, its seal, its rotation. */
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { DEFAULT_CACHE_SECONDS } from '../config/listeners.ts';
import type { Config } from '../config.ts';
import { buildDocuments, type PublicDocuments } from '../core/discovery.ts';
import { IssuerError } from '../core/errors.ts';
import type { KeyMaterial, KeyStore } from '../core/key-ports.ts';
import {
  activeKey,
  adopt,
  type KeyRing,
  MAX_KEYS,
  type RingSettings,
  rotate,
  secondsUntilReady,
} from '../core/key-ring.ts';
import type { Policy } from '../core/policy.ts';
import type { Algorithm, Clock } from '../core/ports.ts';
import { effectiveUid, tryLock } from '../net/kernel.ts';
import { describeKey, generateKey } from '../signers/key-material.ts';
import { type LiveRing, openLiveRing, STALE_AFTER_SECONDS } from '../signers/live-ring.ts';
import { revokeKey } from '../signers/revoke-key.ts';
import { decodeRing, encodeRing } from '../signers/ring-bytes.ts';
import { type StoreContext, type StoreName, stores } from '../stores/index.ts';
import type { KekSource } from '../stores/kek.ts';

export type RingParts = {
  /** The issuer whose documents the ring is in. */
  readonly identifier: string;
  /** Its name in the store. */
  readonly document: string;
  readonly store: KeyStore;
  readonly config: Config;
  readonly clock: Clock;
  /** The policy in effect, or about to be. */
  readonly policy: () => Policy;
  readonly demands: Demands;
  readonly onFault: (operation: 'read' | 'write', error: unknown) => void;
  /** A ring took effect. */
  readonly onRing: (ring: KeyRing) => void;
  readonly generateKey?: ((algorithm: Algorithm) => Promise<KeyMaterial>) | undefined;
  readonly mustExist?: boolean | undefined;
};

export type KeysParts = Omit<RingParts, 'identifier' | 'document' | 'store' | 'generateKey' | 'mustExist'> & {
  /** $CREDENTIALS_DIRECTORY, for systemd credentials. */
  readonly credentialsDirectory: string | undefined;
  readonly kubernetes: StoreContext['kubernetes'];
  readonly gids: StoreContext['gids'];
  readonly warn: (message: string) => void;
};

/** What doors ask of the ring beside the policy, and what they add to the issuer's metadata. */
export type Demands = {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly longestTtlSeconds: number;
  readonly algorithms: readonly Algorithm[];
};

/** The ring of one issuer. */
export type Ring = {
  readonly live: LiveRing;
  readonly settings: () => RingSettings;
  readonly documents: () => PublicDocuments;
  rotate(algorithm: Algorithm | undefined, isForced: boolean): Promise<void>;
  revoke(keyId: string): Promise<void>;
  importKey(privateKey: KeyObject, algorithm: Algorithm): Promise<void>;
  /** Until the active key is due to be replaced; below 0 it is overdue. */
  secondsToRotation(algorithm: Algorithm): number | undefined;
  /** What keeps a token from being signed now. */
  notReady(): readonly string[];
  /** Algorithms that rules ask for and that no key signs yet, in a sentence each. */
  waiting(): readonly string[];
  close(): Promise<void>;
};

/** The ring of the configured issuer, and the store that it and all others are in. */
export type Keys = Ring & { readonly store: KeyStore };

const RING_DOCUMENT = 'key-ring';
const TICK_MAX_SECONDS = 30;
/** How often a store that others write is read. */
const SHARED_TICK_SECONDS = 5;

export async function openKeys(parts: KeysParts): Promise<Keys> {
  const store = await openStore(parts);
  try {
    const ring = await openRing({
      ...parts,
      store,
      identifier: parts.config.issuer,
      document: RING_DOCUMENT,
    });
    return {
      ...ring,
      store,
      async close() {
        await ring.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Throws what the store throws. */
export async function openRing(parts: RingParts): Promise<Ring> {
  const ring = await openUntended(parts);
  const { store, document, config } = parts;
  const { live } = ring;
  const timer = setInterval(() => live.tick(), tickSeconds(store, config) * 1000);
  const unwatch = store.watch?.(document, () => live.tick());
  return {
    ...ring,
    async close() {
      clearInterval(timer);
      unwatch?.();
    },
  };
}

/** How often a ring is looked at. */
export function tickSeconds(store: KeyStore, config: Config): number {
  const period = store.shared
    ? SHARED_TICK_SECONDS
    : Math.min(TICK_MAX_SECONDS, config.keys.rotateEverySeconds / 10);
  return Math.max(period, 0.1);
}

/** As `openRing`, for whoever ticks the ring itself. */
export async function openUntended(parts: RingParts): Promise<Ring> {
  const { identifier, document, store, config, clock, policy, demands, onFault, onRing, mustExist } = parts;
  const settings = () => ringSettings(config, policy(), demands);
  let documents: PublicDocuments | undefined;
  const onChange = (ring: KeyRing) => {
    documents = buildDocuments(identifier, ring, demands.metadata);
    onRing(ring);
  };
  const { generateKey: generate = generateKey } = parts;
  const coding = { generateKey: generate, encode: encodeRing, decode: decodeRing };
  const told = { onChange, onFault };
  const live = await openLiveRing({ store, document, clock, settings, ...coding, ...told, mustExist });
  return {
    live,
    settings,
    documents: () => documents ?? unpublished(),
    ...commands(live, settings),
    secondsToRotation(algorithm) {
      const activatedAt = activeKey(live.current, algorithm)?.activatedAt;
      return activatedAt === undefined
        ? undefined
        : activatedAt + config.keys.rotateEverySeconds - live.now();
    },
    notReady: () => notReady(live, policy()),
    waiting: () => waiting(live, policy(), settings()),
    close: async () => undefined,
  };
}

async function openStore(parts: KeysParts): Promise<KeyStore> {
  const { config, credentialsDirectory, warn, kubernetes, gids } = parts;
  const { name, block } = config.keys.store;
  const context: StoreContext = { uid: effectiveUid(), gids, lock: tryLock, warn, kubernetes };
  const module = await stores[name as StoreName]();
  const inner = await (module.open as OpenStore)(block, context);
  if (name === 'memory') return inner;
  try {
    const [{ limitTime }, { sealStore }, { loadKek }] = await Promise.all([
      import('../stores/deadline.ts'),
      import('../stores/sealed.ts'),
      import('../stores/kek.ts'),
    ]);
    const kek = await loadKek(kekSource(config.keys, credentialsDirectory), context);
    const sealed = limitTime(sealStore(inner, kek, config.issuer));
    kek.fill(0);
    return sealed;
  } catch (error) {
    await inner.close();
    throw error;
  }
}

/** The block is what the plug-in's own schema made of it. */
type OpenStore = (block: unknown, context: StoreContext) => Promise<KeyStore>;

/** Only a file store, which nobody else uses, has its key made beside it. */
function kekSource({ store, encryption }: Config['keys'], directory: string | undefined): KekSource {
  if (encryption?.credential !== undefined) return { credential: encryption.credential, directory };
  if (encryption?.file !== undefined) return { file: encryption.file };
  if (store.name === 'file') {
    const block = store.block as string | { readonly path: string };
    return { generate: join(typeof block === 'string' ? block : block.path, 'kek') };
  }
  throw new IssuerError(
    'server_error',
    `keys.encryption must name the key-encryption key: in ${store.name} others keep their documents too, and none is made there`,
  );
}

function ringSettings(config: Config, policy: Policy, demands: Demands): RingSettings {
  const { rotateEverySeconds, publishAtLeastSeconds } = config.keys;
  return {
    algorithms: [...new Set<Algorithm>(['RS256', ...policy.algorithms, ...demands.algorithms])],
    rotateEverySeconds,
    publishAtLeastSeconds,
    longestTtlSeconds: Math.max(policy.longestTtlSeconds, demands.longestTtlSeconds),
    keepSeconds: cacheForSeconds(config) + (config.keys.store.name === 'memory' ? 0 : STALE_AFTER_SECONDS),
  };
}

export function cacheForSeconds(config: Config): number {
  return config.public?.cacheForSeconds ?? DEFAULT_CACHE_SECONDS;
}

function commands(
  live: LiveRing,
  settings: () => RingSettings,
): Pick<Keys, 'rotate' | 'revoke' | 'importKey'> {
  return {
    async rotate(algorithm, isForced) {
      const algorithms = algorithm === undefined ? settings().algorithms : [algorithm];
      await live.change((ring, now, current) =>
        algorithms.reduce((changed, each) => rotate(changed, each, isForced, now, current), ring),
      );
    },
    async revoke(keyId) {
      await revokeKey(live, keyId);
    },
    async importKey(privateKey, algorithm) {
      await live.change((ring, now) => adopt(ring, describeKey(privateKey, algorithm), now));
    },
  };
}

/** A new algorithm whose key does not sign yet keeps the others from nothing. */
function notReady(live: LiveRing, policy: Policy): readonly string[] {
  const wanted: readonly Algorithm[] = policy.algorithms.length === 0 ? ['RS256'] : policy.algorithms;
  const isReady = wanted.some((algorithm) => activeKey(live.current, algorithm) !== undefined);
  const reasons = isReady ? [] : [`no ${wanted.join(' or ')} key signs yet`];
  try {
    live.assertFresh();
  } catch (error) {
    reasons.push((error as IssuerError).detail);
  }
  return reasons;
}

/** What rules ask for and no key signs yet, in a sentence each. */
function waiting(live: LiveRing, policy: Policy, settings: RingSettings): readonly string[] {
  return policy.algorithms
    .filter((algorithm) => activeKey(live.current, algorithm) === undefined)
    .map((algorithm) => {
      const ready = secondsUntilReady(live.current, algorithm, live.now(), settings);
      if (ready === undefined && live.current.keys.length >= MAX_KEYS)
        return `the ring is full: no ${algorithm} key until a retired one leaves or is revoked`;
      const seconds = ready ?? settings.publishAtLeastSeconds;
      return `the first ${algorithm} key is published now and signs in ${seconds} s, so that verifiers know it by then; mintmark keys rotate --algorithm ${algorithm} --force does not wait`;
    });
}

function unpublished(): never {
  throw new IssuerError('temporarily_unavailable', 'no key is published yet');
}
