/** Providers as they are recorded: one is there from the moment that its keys are until its removal begins. */
import { createHash, createPublicKey, type KeyObject, randomUUID } from 'node:crypto';
import type { Clock, EpochSeconds } from '../../core/ports.ts';
import { absent, assertId, conflict } from './fields.ts';
import { type Issuer, type Issuers, isEnded, isManaged, MAKING_SECONDS } from './issuers.ts';
import { listAll } from './paging.ts';
import type { HostedSpec, IssuerHost, Vultr } from './parts.ts';

export type Provider = {
  readonly id: string;
  readonly name: string;
  /** The one that it was made with, or its own. */
  readonly issuerId: string;
  /** Its own issuer, and the key ring of that. */
  readonly ring: string;
};

type StoredProvider = Omit<Provider, 'id'> & {
  /** The id of the key that it brought along. */
  readonly broughtKey?: string;
  /** It was made with a managed issuer, which was there before it. */
  readonly isTaking?: boolean;
  readonly state: 'making' | 'ready' | 'removing';
  readonly createdAt: EpochSeconds;
};

export type NewProvider = {
  readonly name: string;
  readonly issuerId?: string | undefined;
  readonly key?: KeyObject | undefined;
};

export type Providers = {
  create(wanted: NewProvider): Promise<Provider>;
  list(): Promise<readonly Provider[]>;
  find(id: string): Promise<Provider | undefined>;
  /** Throws `not_found`. */
  require(id: string): Promise<Provider>;
  /** Calls `onBegun` where it is begun, and goes on with one that was cut short. Throws `not_found`. */
  remove(id: string, onBegun: () => void): Promise<void>;
  /** The same for an issuer. Throws `conflict` where it is that of a provider. */
  removeIssuer(issuer: Issuer): Promise<void>;
  /** Ends removals and makings that a stop or a fault has cut short: now and then, and after a fault. */
  tidy(): Promise<void>;
};

const MODEL = 'Provider';
/** Those that other replicas have left are looked for so often. */
const TIDY_SECONDS = 600;

export function specOf({ base }: Pick<Vultr, 'base'>, { id, name, ring }: Provider): HostedSpec {
  return { ring, identifier: `${base}/provider/${id}`, provider: { id, name } };
}

/** A managed issuer that is no provider's yet. */
export function unlinked({ base }: Pick<Vultr, 'base'>, id: string): HostedSpec {
  return { ring: id, identifier: `${base}/issuer/${id}` };
}

export function openProviders(vultr: Vultr, issuers: Issuers, host: () => IssuerHost): Providers {
  const { records, realm, clock } = vultr;
  const tidying = scheduleTidying(clock);
  const { guarded } = tidying;
  const key = (id: string) => ({ realm, model: MODEL, id });
  const all = () => allStored(vultr);
  const stored = async (id: string) =>
    (await records.find(key(id), clock.now()))?.payload as StoredProvider | undefined;
  async function find(id: string): Promise<Provider | undefined> {
    const found = await stored(id);
    return found?.state === 'ready' ? shown(id, found) : undefined;
  }
  const { erase, eraseIssuer, undo } = erasers(vultr, issuers, host, guarded);
  return {
    find,
    create: (wanted) => create(vultr, issuers, host(), wanted, undo),
    async list() {
      return (await all()).flatMap(({ id, stored }) => (stored.state === 'ready' ? [shown(id, stored)] : []));
    },
    async require(id) {
      const found = await find(assertId(id, 'provider'));
      if (found === undefined) throw absent('provider');
      return found;
    },
    async remove(id, onBegun) {
      const found = await stored(assertId(id, 'provider'));
      if (found === undefined || found.state === 'making') throw absent('provider');
      const removing: StoredProvider = { ...found, state: 'removing' };
      if (found.state === 'ready') {
        if (!(await records.replace(key(id), found, removing))) throw absent('provider');
        onBegun();
      }
      await erase(id, removing);
    },
    async removeIssuer(issuer) {
      if (!isManaged(issuer)) return issuers.remove(issuer.id);
      if (!isEnded(issuer)) await issuers.end(issuer.id);
      await eraseIssuer(issuer.id);
    },
    tidy: () =>
      tidying.whereDue(async () => {
        const late = clock.now() - MAKING_SECONDS;
        for (const { id, stored } of await all()) {
          if (stored.state === 'removing') await erase(id, stored);
          if (stored.state === 'making' && stored.createdAt < late) await undo(id, stored);
        }
        for (const { id } of await issuers.ended()) await eraseIssuer(id);
      }),
  };
}

type Guarded = (work: () => Promise<void>) => Promise<void>;

/** What ends a provider, an issuer, or a provider that could not be made; each may be done again. */
function erasers(vultr: Vultr, issuers: Issuers, host: () => IssuerHost, guarded: Guarded) {
  const { records, realm } = vultr;
  const erase = (id: string, stored: StoredProvider) =>
    guarded(async () => {
      await host().remove(specOf(vultr, shown(id, stored)));
      await issuers.removeOf(id);
      await forgetKey(vultr, id, stored);
      if (await records.remove({ realm, model: MODEL, id }))
        vultr.tell({ provider: id, name: stored.name }, 'a provider was removed');
    });
  /** A making that failed. What was there before stays: the issuer that it took. */
  const undo = (id: string, stored: StoredProvider) =>
    stored.isTaking !== true
      ? erase(id, stored)
      : guarded(async () => {
          await issuers.unlink(stored.ring, id);
          await records.remove({ realm, model: MODEL, id });
        });
  const eraseIssuer = (id: string) =>
    guarded(async () => {
      await host().remove(unlinked(vultr, id));
      await issuers.remove(id);
    });
  return { erase, eraseIssuer, undo };
}

async function allStored({ records, realm, clock }: Vultr) {
  const found = await listAll(records, { realm, model: MODEL }, clock);
  return found.map(({ id, payload }) => ({ id, stored: payload as StoredProvider }));
}

function shown(id: string, { name, issuerId, ring }: StoredProvider): Provider {
  return { id, name, issuerId, ring };
}

/** What a fault has cut short is gone on with the next time; what others have left, now and then. */
function scheduleTidying(clock: Pick<Clock, 'elapsed'>) {
  let tidiedAt: number | undefined;
  async function guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      tidiedAt = undefined;
      throw error;
    }
  }
  return {
    guarded,
    async whereDue(work: () => Promise<void>): Promise<void> {
      if (tidiedAt !== undefined && clock.elapsed() - tidiedAt < TIDY_SECONDS) return;
      tidiedAt = clock.elapsed();
      await guarded(work);
    },
  };
}

type Undo = (id: string, stored: StoredProvider) => Promise<void>;

async function create(
  vultr: Vultr,
  issuers: Issuers,
  host: IssuerHost,
  { name, issuerId, key }: NewProvider,
  undo: Undo,
): Promise<Provider> {
  const { records, realm, clock } = vultr;
  const id = randomUUID();
  const given = issuerId === undefined ? undefined : await issuers.require(issuerId);
  const isTaken = given !== undefined && isManaged(given);
  if (isTaken && key !== undefined) throw conflict('issuer_id names an issuer that has a key of its own');
  const ring = isTaken ? given.id : randomUUID();
  const provider: Provider = { id, name, ring, issuerId: given?.id ?? ring };
  const place = { realm, model: MODEL, id };
  const { id: _, ...rest } = provider;
  const brought = key === undefined ? {} : { broughtKey: thumbprintOf(key) };
  const taking = isTaken ? { isTaking: true } : {};
  const making: StoredProvider = { ...rest, ...brought, ...taking, state: 'making', createdAt: clock.now() };
  await records.insert(place, { payload: making }, clock.now());
  try {
    await rememberKey(vultr, id, making);
    if (isTaken) await issuers.link(given.id, id);
    else {
      await issuers.addManaged(ring, id);
      await host.make(specOf(vultr, provider), key);
      if (given !== undefined) await issuers.change(given.id, () => ({ isNamed: true }));
    }
    if (!(await records.replace(place, making, { ...making, state: 'ready' })))
      throw conflict('it took too long to make the provider: try again');
    return provider;
  } catch (error) {
    await undo(id, making);
    throw error;
  }
}

const keyPlace = ({ realm }: Vultr, id: string) => ({ realm, model: 'BroughtKey', id });

/** Two issuers with one key could each sign what only the other may. Throws `conflict`. */
async function rememberKey(vultr: Vultr, provider: string, { broughtKey }: StoredProvider): Promise<void> {
  if (broughtKey === undefined) return;
  const place = keyPlace(vultr, broughtKey);
  if (!(await vultr.records.insert(place, { payload: { provider } }, vultr.clock.now())))
    throw conflict('private_key_b64 is the key of another provider');
}

async function forgetKey(vultr: Vultr, provider: string, { broughtKey }: StoredProvider): Promise<void> {
  if (broughtKey === undefined) return;
  const place = keyPlace(vultr, broughtKey);
  const found = await vultr.records.find(place, vultr.clock.now());
  if (found?.payload.provider === provider) await vultr.records.remove(place);
}

/** RFC 7638: what names the key in a JWKS. */
function thumbprintOf(key: KeyObject): string {
  const { e, kty, n } = createPublicKey(key).export({ format: 'jwk' });
  return createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url');
}
