/** Providers as they are recorded: one is there from the moment that its keys are until its removal begins. */

import type { KeyObject } from 'node:crypto';
import { randomUUID } from 'node:crypto';
import type { EpochSeconds } from '../../core/ports.ts';
import { absent, assertId, conflict } from './fields.ts';
import { type Issuers, isManaged } from './issuers.ts';
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
  remove(provider: Provider): Promise<void>;
  /** Ends removals and makings that a stop has cut short. */
  tidy(): Promise<void>;
};

const MODEL = 'Provider';
/** Nobody takes longer to make one. */
const MAKING_SECONDS = 600;

export function specOf({ base }: Pick<Vultr, 'base'>, { id, name, ring }: Provider): HostedSpec {
  return { ring, identifier: `${base}/provider/${id}`, provider: { id, name } };
}

export function openProviders(vultr: Vultr, issuers: Issuers, host: () => IssuerHost): Providers {
  const { records, realm, clock } = vultr;
  const key = (id: string) => ({ realm, model: MODEL, id });
  const shown = (id: string, { name, issuerId, ring }: StoredProvider): Provider => ({
    ...{ id, name, issuerId, ring },
  });
  const all = async () =>
    (await listAll(records, { realm, model: MODEL }, clock)).map(({ id, payload }) => ({
      id,
      stored: payload as StoredProvider,
    }));
  async function find(id: string): Promise<Provider | undefined> {
    const stored = (await records.find(key(id), clock.now()))?.payload as StoredProvider | undefined;
    return stored?.state === 'ready' ? shown(id, stored) : undefined;
  }
  async function erase(id: string, stored: StoredProvider): Promise<void> {
    await host().remove(specOf(vultr, shown(id, stored)));
    await issuers.removeOf(id);
    await records.remove(key(id));
  }
  return {
    find,
    create: (wanted) => create(vultr, issuers, host(), wanted, erase),
    async list() {
      return (await all()).flatMap(({ id, stored }) => (stored.state === 'ready' ? [shown(id, stored)] : []));
    },
    async require(id) {
      const found = await find(assertId(id, 'provider'));
      if (found === undefined) throw absent('provider');
      return found;
    },
    async remove({ id }) {
      const stored = (await records.find(key(id), clock.now()))?.payload as StoredProvider | undefined;
      if (stored?.state !== 'ready') throw absent('provider');
      const removing: StoredProvider = { ...stored, state: 'removing' };
      if (!(await records.replace(key(id), stored, removing))) throw absent('provider');
      await erase(id, removing);
    },
    async tidy() {
      for (const { id, stored } of await all()) {
        const isLate = stored.state === 'making' && stored.createdAt < clock.now() - MAKING_SECONDS;
        if (isLate || stored.state === 'removing') await erase(id, stored);
      }
    },
  };
}

type Erase = (id: string, stored: StoredProvider) => Promise<void>;

async function create(
  vultr: Vultr,
  issuers: Issuers,
  host: IssuerHost,
  { name, issuerId, key }: NewProvider,
  erase: Erase,
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
  const making: StoredProvider = { ...rest, state: 'making', createdAt: clock.now() };
  await records.insert(place, { payload: making }, clock.now());
  try {
    if (isTaken) await issuers.link(given, id);
    else {
      await issuers.addManaged(ring, id);
      await host.make(specOf(vultr, provider), key);
      if (given !== undefined) await issuers.name(given);
    }
    await records.replace(place, making, { ...making, state: 'ready' });
    return provider;
  } catch (error) {
    // What was another's before stays: the issuer that could not be had.
    if (isTaken) await records.remove(place);
    else await erase(id, making);
    throw error;
  }
}
