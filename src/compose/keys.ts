/** The key ring of the configured issuer: its store, its seal, its rotation. */
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { DEFAULT_CACHE_SECONDS } from '../config/listeners.ts';
import type { Config } from '../config.ts';
import { buildDocuments, type PublicDocuments } from '../core/discovery.ts';
import { IssuerError } from '../core/errors.ts';
import {
  activeKey,
  adopt,
  type KeyRing,
  type RingSettings,
  rotate,
  secondsUntilReady,
} from '../core/key-ring.ts';
import type { Policy } from '../core/policy.ts';
import type { Algorithm, Clock, KeyStore } from '../core/ports.ts';
import { effectiveUid, tryLock } from '../net/kernel.ts';
import { describeKey, generateKey } from '../signers/key-material.ts';
import { type LiveRing, openLiveRing, STALE_AFTER_SECONDS } from '../signers/live-ring.ts';
import { revokeKey } from '../signers/revoke-key.ts';
import { decodeRing, encodeRing } from '../signers/ring-bytes.ts';
import { type StoreContext, type StoreName, stores } from '../stores/index.ts';
import type { KekSource } from '../stores/kek.ts';

export type KeysParts = {
  readonly config: Config;
  readonly clock: Clock;
  /** The policy in effect, or about to be. */
  readonly policy: () => Policy;
  /** $CREDENTIALS_DIRECTORY, for systemd credentials. */
  readonly credentialsDirectory: string | undefined;
  readonly kubernetes: StoreContext['kubernetes'];
  readonly gids: StoreContext['gids'];
  readonly warn: (message: string) => void;
  readonly onFault: (operation: 'read' | 'write', error: unknown) => void;
  /** A ring took effect. */
  readonly onRing: (ring: KeyRing) => void;
};

export type Keys = {
  readonly live: LiveRing;
  readonly store: KeyStore;
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

const RING_DOCUMENT = 'key-ring';
const TICK_MAX_SECONDS = 30;
/** How often a store that others write is read. */
const SHARED_TICK_SECONDS = 5;

export async function openKeys(parts: KeysParts): Promise<Keys> {
  const { config, clock, policy, onFault, onRing } = parts;
  const store = await openStore(parts);
  const settings = () => ringSettings(config, policy());
  let documents: PublicDocuments | undefined;
  const onChange = (ring: KeyRing) => {
    documents = buildDocuments(config.issuer, ring);
    onRing(ring);
  };
  const ringParts = {
    store,
    document: RING_DOCUMENT,
    clock,
    settings,
    generateKey,
    encode: encodeRing,
    decode: decodeRing,
  };
  const live = await openLiveRing({ ...ringParts, onChange, onFault }).catch(async (error) => {
    await store.close();
    throw error;
  });
  const period = store.shared
    ? SHARED_TICK_SECONDS
    : Math.min(TICK_MAX_SECONDS, config.keys.rotateEverySeconds / 10);
  const timer = setInterval(() => live.tick(), Math.max(period, 0.1) * 1000);
  const unwatch = store.watch?.(RING_DOCUMENT, () => live.tick());
  return {
    live,
    store,
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
    async close() {
      clearInterval(timer);
      unwatch?.();
      await store.close();
    },
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

function ringSettings(config: Config, policy: Policy): RingSettings {
  const { rotateEverySeconds, publishAtLeastSeconds } = config.keys;
  return {
    algorithms: [...new Set<Algorithm>(['RS256', ...policy.algorithms])],
    rotateEverySeconds,
    publishAtLeastSeconds,
    longestTtlSeconds: policy.longestTtlSeconds,
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
      const seconds =
        secondsUntilReady(live.current, algorithm, live.now(), settings) ?? settings.publishAtLeastSeconds;
      return `the first ${algorithm} key is published now and signs in ${seconds} s, so that verifiers know it by then; mintmark keys rotate --algorithm ${algorithm} --force does not wait`;
    });
}

function unpublished(): never {
  throw new IssuerError('temporarily_unavailable', 'no key is published yet');
}
