/**
 * Documents as data keys of one Kubernetes Secret, for any number of replicas.
 *
 * A data key holds what the file store writes (document-bytes.ts): a counter and a
 * checksum before the document, which make up its version. A write is conditional
 * on the resourceVersion of the Secret that the document was just read from; where
 * only another document has changed since, it is tried again.
 *
 * Each process remembers the highest counter that it has seen: a Secret that was
 * put back from a backup, or lost a document, is refused until a restart accepts
 * it, since keys that others have retired would sign again.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore, StoredBytes, StoreVersion } from '../core/key-ports.ts';
import { assertDocumentName, assertDocumentSize, assertExpected } from './document.ts';
import { decodeDocument, encodeDocument } from './document-bytes.ts';
import type { StoreContext } from './index.ts';
import { createSecretApi, type Secret, type SecretApi } from './secret-api.ts';
import { followSecret } from './secret-watch.ts';

const objectName = (pattern: RegExp, longest: number, description: string) =>
  v.pipe(
    v.string(),
    v.regex(pattern, 'must be the name of a Kubernetes object: a-z, 0-9, - (and . in a Secret)'),
    v.maxLength(longest),
    v.description(description),
  );
const LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;

export const config = v.strictObject({
  namespace: v.optional(objectName(LABEL, 63, "Namespace of the Secret; default: the pod's own.")),
  name: objectName(SUBDOMAIN, 253, 'Name of the Secret; made where there is none.'),
});

/** What Kubernetes takes for all data keys of a Secret together. */
const MAX_SECRET_BYTES = 1024 * 1024;
/** How long a write that others are always faster than goes on. */
const CAS_MS = 5_000;
const CAS_PAUSE_MS = 20;

/** Throws `server_error` where the namespace is not known. Calls no one yet. */
export async function open(
  block: v.InferOutput<typeof config>,
  context: Pick<StoreContext, 'kubernetes' | 'warn'>,
): Promise<KeyStore> {
  const [library, cluster] = await Promise.all([import('@kubernetes/client-node'), context.kubernetes()]);
  const namespace = block.namespace ?? cluster.getContextObject(cluster.getCurrentContext())?.namespace;
  if (namespace === undefined || namespace === '') {
    const detail = 'keys.store.kubernetes-secret.namespace must be set: no service account says which';
    throw new IssuerError('server_error', detail);
  }
  const secret = { namespace, name: block.name };
  return new SecretStore(
    `Secret ${namespace}/${block.name}`,
    createSecretApi(library, cluster, secret),
    context.warn,
  );
}

type Found = { readonly bytes: Buffer; readonly counter: bigint; readonly version: StoreVersion };

type Watch = { readonly name: string; readonly onChange: () => void };

class SecretStore implements KeyStore {
  readonly shared = true;
  readonly #label: string;
  readonly #api: SecretApi;
  readonly #warn: (message: string) => void;
  /** Of each document, as this process has last seen it. */
  readonly #seen = new Map<string, { readonly counter: bigint; readonly version: StoreVersion }>();
  readonly #watches = new Set<Watch>();
  /** One call follows the Secret for all of them. */
  #stopFollowing: (() => void) | undefined;
  #closed = false;

  constructor(label: string, api: SecretApi, warn: (message: string) => void) {
    this.#label = label;
    this.#api = api;
    this.#warn = warn;
  }

  async read(name: string): Promise<StoredBytes | undefined> {
    assertDocumentName(name);
    const { found } = await this.#load(name);
    return found && { bytes: found.bytes, version: found.version };
  }

  async write(name: string, bytes: Uint8Array, expected: StoreVersion | undefined): Promise<StoreVersion> {
    assertDocumentName(name);
    assertDocumentSize(name, bytes.length);
    const copy = Buffer.from(bytes);
    const giveUpAt = performance.now() + CAS_MS;
    for (let attempt = 0; performance.now() < giveUpAt; attempt++) {
      const { secret, found } = await this.#load(name);
      assertExpected(name, found?.version, expected);
      const counter = (found?.counter ?? 0n) + 1n;
      const document = encodeDocument(counter, copy);
      if (await this.#replace(name, document, secret)) {
        const version = versionOf(counter, document);
        this.#remember(name, { counter, version });
        return version;
      }
      await sleep(CAS_PAUSE_MS * (attempt + Math.random()));
    }
    throw this.#contended();
  }

  async remove(name: string): Promise<boolean> {
    assertDocumentName(name);
    const giveUpAt = performance.now() + CAS_MS;
    for (let attempt = 0; performance.now() < giveUpAt; attempt++) {
      this.#assertOpen();
      const secret = await this.#api.read();
      this.#seen.delete(name);
      if (secret?.data[name] === undefined) return false;
      if (await this.#api.patch({ [name]: undefined }, secret.resourceVersion)) return true;
      await sleep(CAS_PAUSE_MS * (attempt + Math.random()));
    }
    throw this.#contended();
  }

  watch(name: string, onChange: () => void): () => void {
    assertDocumentName(name);
    this.#assertOpen();
    const watch = { name, onChange };
    this.#watches.add(watch);
    this.#stopFollowing ??= followSecret(this.#api, this.#warn, (secret) => {
      for (const each of this.#watches) if (this.#hasChanged(each.name, secret)) each.onChange();
    });
    return () => {
      this.#watches.delete(watch);
      if (this.#watches.size === 0) this.#endFollowing();
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watches.clear();
    this.#endFollowing();
    this.#api.close();
  }

  #endFollowing(): void {
    this.#stopFollowing?.();
    this.#stopFollowing = undefined;
  }

  #contended(): IssuerError {
    return new IssuerError('temporarily_unavailable', `${this.#label} is changed by others all the time`);
  }

  #assertOpen(): void {
    if (this.#closed) throw new IssuerError('temporarily_unavailable', 'the key store is closed');
  }

  /** Throws `server_error` where it is not one of our documents. */
  #find(name: string, secret: Secret | undefined): Found | undefined {
    const file = secret?.data[name];
    if (file === undefined) return undefined;
    const { counter, bytes } = decodeDocument(`${this.#label}, key ${name},`, file);
    return { counter, bytes, version: versionOf(counter, file) };
  }

  /** Throws `server_error` where the document is older than what was seen of it before it was asked for. */
  async #load(name: string): Promise<{ secret: Secret | undefined; found: Found | undefined }> {
    this.#assertOpen();
    const seen = this.#seen.get(name);
    const secret = await this.#api.read();
    const found = this.#find(name, secret);
    if (seen !== undefined && (found === undefined || found.counter < seen.counter)) {
      const what =
        found === undefined
          ? `has lost its key ${name}, which was at version ${seen.counter}`
          : `has version ${found.counter} of ${name}, but version ${seen.counter} was seen: an older copy was put back, with keys that may be retired or revoked`;
      throw new IssuerError(
        'server_error',
        `${this.#label} ${what}; put the newest copy back (to accept it as it is, restart every replica)`,
      );
    }
    if (found !== undefined) this.#remember(name, found);
    return { secret, found };
  }

  /** Answers of calls that ran at once may come in any order. */
  #remember(name: string, { counter, version }: Pick<Found, 'counter' | 'version'>): void {
    const seen = this.#seen.get(name);
    if (seen === undefined || counter >= seen.counter) this.#seen.set(name, { counter, version });
  }

  /** False where somebody else was first. */
  async #replace(name: string, document: Buffer, secret: Secret | undefined): Promise<boolean> {
    const data = { [name]: document };
    const sizes = Object.values({ ...secret?.data, ...data }).map(({ length }) => length);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    if (total > MAX_SECRET_BYTES) {
      throw new IssuerError(
        'server_error',
        `${this.#label} would have ${total} bytes with this document; Kubernetes takes ${MAX_SECRET_BYTES}`,
      );
    }
    return secret === undefined
      ? await this.#api.create(data)
      : await this.#api.patch(data, secret.resourceVersion);
  }

  /** Our own writes are no news. What cannot be decoded is: the next read says what it is. */
  #hasChanged(name: string, secret: Secret | undefined): boolean {
    try {
      return this.#find(name, secret)?.version !== this.#seen.get(name)?.version;
    } catch {
      return true;
    }
  }
}

function versionOf(counter: bigint, document: Buffer): StoreVersion {
  return `${counter}.${createHash('sha256').update(document).digest('hex').slice(0, 32)}`;
}
