/**
 * The issuers that a door makes while the server runs. Each is loaded when it is asked for, and dropped once
 * nobody has asked for a while; one timer looks after the rings of all.
 */
import type { KeyObject } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import { open as openAdmin } from '../doors/admin.ts';
import type { Route } from '../doors/door.ts';
import { hash } from '../doors/oauth/adapter.ts';
import { createUserRoutes } from '../doors/oauth/people/admin.ts';
import { absent } from '../doors/vultr/fields.ts';
import type { HostedSpec, HostHooks, IssuerHost } from '../doors/vultr/parts.ts';
import { describeKey } from '../signers/key-material.ts';
import { documentOf, type Hosted, type HostedParts, openHosted } from './hosted-issuer.ts';
import { tickSeconds } from './keys.ts';
import { keepSpareKeys, type SpareKeys } from './spare-keys.ts';

export type HostingParts = Omit<HostedParts, 'takeKey' | 'findTrusted' | 'exists'>;

/** So many are kept in memory. */
const LOADED_MAX = 64;
const IDLE_SECONDS = 600;
/** Calls in flight are waited for so long before what is stored is removed. */
const DRAIN_MS = 5_000;
const DRAIN_STEP_MS = 10;
/** How often in a key's time a ring is looked at that nobody uses. */
const VISITS = 8;

type Entry = {
  readonly spec: HostedSpec;
  readonly hosted: Promise<Hosted>;
  usedAt: number;
  /** Calls in flight. */
  busy: number;
  /** It is looked at, and nobody has asked for it. */
  isPassing: boolean;
  readonly unwatch: (() => void) | undefined;
  /** Where it was made here and not opened. */
  readonly madeAt: number | undefined;
};

export async function openHostedIssuers(given: HostingParts, hooks: HostHooks): Promise<IssuerHost> {
  const spares = keepSpareKeys(given.block.spareKeys);
  const findTrusted: HostedParts['findTrusted'] = (spec) => (issuer, isFresh) =>
    hooks.trusted(spec, issuer, isFresh);
  return new Issuers({ ...given, findTrusted, exists: hooks.exists, takeKey: spares.take }, hooks, spares);
}

class Issuers implements IssuerHost {
  readonly adminRoutes = shapesOfAdminRoutes();
  readonly #parts: HostedParts;
  readonly #hooks: HostHooks;
  readonly #spares: SpareKeys;
  /** By ring, those used least lately first. */
  readonly #entries = new Map<string, Entry>();
  readonly #timer: NodeJS.Timeout;
  readonly #tickSeconds: number;
  /** Rings that are to be looked at, and when the list was begun. */
  #visits: HostedSpec[] = [];
  #visitsPerTick = 1;
  #visitsBegunAt: number;
  #tending: Promise<void> = Promise.resolve();

  constructor(parts: HostedParts, hooks: HostHooks, spares: SpareKeys) {
    this.#parts = parts;
    this.#hooks = hooks;
    this.#spares = spares;
    this.#visitsBegunAt = parts.clock.elapsed();
    this.#tickSeconds = tickSeconds(parts.store, parts.config);
    let isTending = false;
    this.#timer = setInterval(() => {
      if (isTending) return;
      isTending = true;
      this.#tending = this.#tend()
        .catch((error: Error) => parts.warn(`the issuers are not looked after: ${error.message}`))
        .finally(() => {
          isTending = false;
        });
    }, this.#tickSeconds * 1000);
  }

  async make(spec: HostedSpec, key: KeyObject | undefined): Promise<void> {
    const { takeKey } = this.#parts;
    let first = key === undefined ? undefined : describeKey(key, 'RS256');
    const { own } = this.#parts.attestor;
    if (first !== undefined && own?.keys().some(({ publicJwk }) => publicJwk.kid === first?.keyId) === true) {
      const reason = 'private_key_b64 is a key of the main issuer';
      throw new IssuerError('conflict', reason, { shown: { reason } });
    }
    const hosted = openHosted(this.#parts, spec, async (algorithm) => {
      const [made] = [first];
      first = undefined;
      return made ?? takeKey(algorithm);
    });
    this.#keep(spec, hosted, { madeAt: this.#parts.clock.elapsed() });
    await hosted;
  }

  documents(spec: HostedSpec) {
    return this.#use(spec, async ({ ring }) => ring.documents());
  }

  async look(spec: HostedSpec) {
    return this.#pass(spec, async ({ ring }) => ring.documents());
  }

  kept(kind: 'provider' | 'issuer', id: string): HostedSpec | undefined {
    if (kind === 'issuer') return this.#entries.get(id)?.spec;
    return [...this.#entries.values()].find(({ spec }) => spec.provider?.id === id)?.spec;
  }

  handle(...[spec, request, response]: Parameters<IssuerHost['handle']>) {
    return this.#use(spec, async (hosted) => (await hosted.engine()).handle(request, response));
  }

  /** What was signed while the issuer was removed, here or by another replica, is handed to nobody. */
  token(spec: HostedSpec, given: Parameters<IssuerHost['token']>[1]) {
    return this.#use(spec, async (hosted) => {
      const answer = await (await hosted.engine()).server.call({ path: '/token', ...given });
      if (await this.#hooks.exists(spec)) return answer;
      throw absent('provider');
    });
  }

  async holderOf(...[{ identifier: realm }, model, value]: Parameters<IssuerHost['holderOf']>) {
    const { records, clock } = this.#parts;
    const found = await records.find({ realm, model, id: hash(value) }, clock.now());
    return found?.payload.clientId as string | undefined;
  }

  async admin(spec: HostedSpec, { method, path }: Route): Promise<Route['handle']> {
    return (context) =>
      this.#use(spec, async (hosted) => {
        const routes = await hosted.adminRoutes();
        await routes.find((route) => route.method === method && route.path === path)?.handle(context);
      });
  }

  async remove(spec: HostedSpec): Promise<void> {
    const { store, records } = this.#parts;
    const entry = this.#entries.get(spec.ring);
    await this.#end(spec.ring);
    await store.remove(documentOf(spec));
    for (let waited = 0; (entry?.busy ?? 0) > 0 && waited < DRAIN_MS; waited += DRAIN_STEP_MS)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_STEP_MS));
    await records.removeRealm(spec.identifier);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#spares.close();
    await this.#tending;
    for (const entry of [...this.#entries.values()]) this.#drop(entry);
  }

  async #use<T>(spec: HostedSpec, work: (hosted: Hosted) => Promise<T>): Promise<T> {
    return this.#busy(this.#entryOf(spec), work);
  }

  /** One whose ring another replica removed meanwhile is not there. */
  async #busy<T>(entry: Entry, work: (hosted: Hosted) => Promise<T>): Promise<T> {
    entry.busy++;
    try {
      return await work(await entry.hosted);
    } catch (error) {
      const isFault = error instanceof IssuerError && error.code === 'server_error';
      throw isFault && !(await this.#hooks.exists(entry.spec)) ? absent('provider') : error;
    } finally {
      entry.busy--;
    }
  }

  /** One that nobody uses is dropped again. */
  async #pass<T>(spec: HostedSpec, work: (hosted: Hosted) => Promise<T>): Promise<T> {
    if (this.#find(spec) === undefined) this.#keep(spec, openHosted(this.#parts, spec), { isPassing: true });
    const entry = this.#find(spec) as Entry;
    try {
      return await this.#busy(entry, work);
    } finally {
      if (entry.isPassing && entry.busy === 0) this.#drop(entry);
    }
  }

  #find({ ring, identifier }: HostedSpec): Entry | undefined {
    const found = this.#entries.get(ring);
    return found?.spec.identifier === identifier ? found : undefined;
  }

  #entryOf(spec: HostedSpec): Entry {
    const { ring } = spec;
    const found = this.#find(spec);
    if (found === undefined) return this.#keep(spec, openHosted(this.#parts, spec));
    found.isPassing = false;
    found.usedAt = this.#parts.clock.elapsed();
    this.#entries.delete(ring);
    this.#entries.set(ring, found);
    return found;
  }

  #keep(
    spec: HostedSpec,
    hosted: Promise<Hosted>,
    { isPassing = false, madeAt }: { readonly isPassing?: boolean; readonly madeAt?: number } = {},
  ): Entry {
    const { store, clock } = this.#parts;
    const unwatch = isPassing ? undefined : store.watch?.(documentOf(spec), () => void this.#tick(entry));
    const entry: Entry = { spec, hosted, usedAt: clock.elapsed(), busy: 0, isPassing, unwatch, madeAt };
    this.#forget(spec.ring);
    this.#entries.set(spec.ring, entry);
    hosted.catch(() => this.#drop(entry));
    if (!isPassing) this.#dropOldest();
    return entry;
  }

  #dropOldest(): void {
    for (const entry of this.#entries.values()) {
      if (this.#entries.size <= LOADED_MAX) return;
      if (entry.busy === 0) this.#drop(entry);
    }
  }

  #drop(entry: Entry): void {
    if (this.#entries.get(entry.spec.ring) === entry) this.#forget(entry.spec.ring);
  }

  #forget(ring: string): void {
    this.#entries.get(ring)?.unwatch?.();
    this.#entries.delete(ring);
  }

  async #end(ring: string): Promise<void> {
    const entry = this.#entries.get(ring);
    this.#forget(ring);
    await entry?.hosted.then(
      (hosted) => hosted.end(),
      () => undefined,
    );
  }

  async #tend(): Promise<void> {
    const now = this.#parts.clock.elapsed();
    for (const entry of [...this.#entries.values()]) {
      if (entry.busy === 0 && now - entry.usedAt > IDLE_SECONDS) this.#drop(entry);
      else await this.#tick(entry);
    }
    await this.#visitSome(now);
    await this.#hooks.tidy();
  }

  /** A ring that another replica has removed is not to be asked for. */
  async #tick(entry: Entry): Promise<void> {
    entry.busy++;
    try {
      const hosted = await entry.hosted;
      if (await this.#hooks.exists(entry.spec)) await hosted.ring.live.tick();
      else if (this.#isSettled(entry) && this.#find(entry.spec) === entry) await this.#end(entry.spec.ring);
    } catch {
      // Told where it happened.
    } finally {
      entry.busy--;
    }
  }

  /** One that is being made is not there yet. */
  #isSettled({ madeAt }: Entry): boolean {
    return madeAt === undefined || this.#parts.clock.elapsed() - madeAt > 2 * this.#tickSeconds;
  }

  /** What is due at rings that nobody uses: each in its turn, some at a time. */
  async #visitSome(now: number): Promise<void> {
    const every = this.#parts.config.keys.rotateEverySeconds / VISITS;
    if (this.#visits.length === 0 && now - this.#visitsBegunAt >= every) {
      this.#visitsBegunAt = now;
      this.#visits = [...(await this.#hooks.all())];
      this.#visitsPerTick = Math.max(1, Math.ceil((this.#visits.length * this.#tickSeconds) / every));
    }
    for (const spec of this.#visits.splice(0, this.#visitsPerTick)) {
      if (this.#entries.has(spec.ring)) continue;
      await this.#pass(spec, async () => undefined).catch(() => undefined); // opening it does what is due
    }
  }
}

/** Paths and operations alone: what they do is asked of the issuer that a request names. */
function shapesOfAdminRoutes(): readonly Route[] {
  const nothing = (): never => {
    throw new TypeError('the routes of no issuer');
  };
  const keys = openAdmin({
    ...{ keys: nothing, now: nothing, settings: nothing, rotate: nothing, revoke: nothing },
    ...{ importKey: nothing, documents: nothing, caCertificate: nothing },
  });
  return [
    ...keys.routes.filter(({ path }) => path !== '/v1/ca'),
    ...createUserRoutes(...([{}, {}, ''] as unknown as Parameters<typeof createUserRoutes>)),
  ];
}
