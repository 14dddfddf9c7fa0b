/**
 * The calls of the Kubernetes API that the store makes, all on one Secret. One
 * that fails is an IssuerError that says which right is missing, or that it may
 * go well another time. Nothing that a Secret holds goes into a message.
 */
import type { HttpMethod, KubeConfig, ResponseContext } from '@kubernetes/client-node';
import { IssuerError } from '../core/errors.ts';

export type SecretName = { readonly namespace: string; readonly name: string };
export type SecretData = Readonly<Record<string, Buffer>>;
export type SecretChange = Readonly<Record<string, Buffer | undefined>>;
export type Secret = { readonly data: SecretData; readonly resourceVersion: string };

export interface SecretApi {
  /** Undefined where there is none. */
  read(): Promise<Secret | undefined>;
  /** False where there is one by now. */
  create(data: SecretData): Promise<boolean>;
  /** Sets these keys (undefined: removes) if the Secret is at this version; false where it is not, or is gone. */
  patch(data: SecretChange, resourceVersion: string): Promise<boolean>;
  /** Tells of the Secret as it is and as it becomes (undefined: deleted) until the connection ends. */
  watch(onSecret: (secret: Secret | undefined) => void, signal: AbortSignal): Promise<void>;
  /** Ends every call. */
  close(): void;
}

type Verb = 'get' | 'create' | 'patch' | 'watch';
/** What is loaded only where an authority needs it. */
type Library = typeof import('@kubernetes/client-node');
type Body = { readonly type: string; readonly value: unknown };

const METHODS: Readonly<Record<Verb, HttpMethod>> = {
  get: 'GET',
  create: 'POST',
  patch: 'PATCH',
  watch: 'GET',
};
/** Less than limitTime's, whose fault says no more than that it is late. */
const CALL_MS = 8_000;
/** The server ends a watch after this long, and it is begun anew. */
const WATCH_SECONDS = 300;
/** The server sends a bookmark every minute; without a byte for this long the connection is dead. */
const SILENCE_MS = 100_000;
const RETRY_SECONDS = 2;
const LABELS = { 'app.kubernetes.io/name': 'mintmark', 'app.kubernetes.io/managed-by': 'mintmark' };

export function createSecretApi(library: Library, config: KubeConfig, secret: SecretName): SecretApi {
  return new SecretClient(library, config, secret);
}

class SecretClient implements SecretApi {
  readonly #library: Library;
  readonly #config: KubeConfig;
  readonly #secret: SecretName;
  /** The paths of all Secrets of the namespace, and of ours. */
  readonly #all: string;
  readonly #one: string;
  readonly #closing = new AbortController();

  constructor(library: Library, config: KubeConfig, secret: SecretName) {
    this.#library = library;
    this.#config = config;
    this.#secret = secret;
    this.#all = `/api/v1/namespaces/${encodeURIComponent(secret.namespace)}/secrets`;
    this.#one = `${this.#all}/${encodeURIComponent(secret.name)}`;
  }

  async read(): Promise<Secret | undefined> {
    const { status, text } = await this.#call('get', this.#one);
    if (status === 404) return undefined;
    if (status !== 200) throw this.#refused('get', status, text);
    return this.#parse('get', () => parseSecret(JSON.parse(text)));
  }

  async create(data: SecretData): Promise<boolean> {
    const { name } = this.#secret;
    const value = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, labels: LABELS },
      data: encode(data),
    };
    const { status, text } = await this.#call('create', `${this.#all}?fieldManager=mintmark`, {
      type: 'application/json',
      value,
    });
    if (status === 409) return false;
    if (status !== 201) throw this.#refused('create', status, text);
    return true;
  }

  async patch(data: SecretChange, resourceVersion: string): Promise<boolean> {
    const { status, text } = await this.#call('patch', `${this.#one}?fieldManager=mintmark`, {
      type: 'application/merge-patch+json',
      value: { metadata: { resourceVersion }, data: encode(data) },
    });
    if (status === 409 || status === 404) return false;
    if (status !== 200) throw this.#refused('patch', status, text);
    return true;
  }

  async watch(onSecret: (secret: Secret | undefined) => void, signal: AbortSignal): Promise<void> {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(new Error('the connection is silent')), SILENCE_MS);
    const query = new URLSearchParams({
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_SECONDS),
      fieldSelector: `metadata.name=${this.#secret.name}`,
    });
    try {
      const ended = AbortSignal.any([signal, silence.signal]);
      const response = await this.#send('watch', `${this.#all}?${query}`, ended);
      const status = response.httpStatusCode;
      if (status !== 200) throw this.#refused('watch', status, await response.body.text());
      for await (const line of linesOf(response, () => timer.refresh())) this.#take(line, onSecret);
    } catch (error) {
      throw error instanceof IssuerError ? error : this.#unreached('watch', error);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#closing.abort(new Error('the key store is closed'));
  }

  #take(line: string, onSecret: (secret: Secret | undefined) => void): void {
    const { type, object } = this.#parse('watch', () => JSON.parse(line));
    if (type === 'BOOKMARK') return;
    if (type === 'ERROR') throw this.#refused('watch', Number(object?.code), JSON.stringify(object));
    onSecret(type === 'DELETED' ? undefined : this.#parse('watch', () => parseSecret(object)));
  }

  async #call(verb: Verb, path: string, body?: Body): Promise<{ status: number; text: string }> {
    try {
      const response = await this.#send(verb, path, AbortSignal.timeout(CALL_MS), body);
      return { status: response.httpStatusCode, text: await response.body.text() };
    } catch (error) {
      throw this.#unreached(verb, error);
    }
  }

  async #send(verb: Verb, path: string, signal: AbortSignal, body?: Body): Promise<ResponseContext> {
    const { RequestContext, IsomorphicFetchHttpLibrary } = this.#library;
    const request = new RequestContext(`${this.#config.getCurrentCluster()?.server}${path}`, METHODS[verb]);
    request.setHeaderParam('Accept', 'application/json');
    if (body !== undefined) {
      request.setHeaderParam('Content-Type', body.type);
      request.setBody(JSON.stringify(body.value));
    }
    await this.#config.applySecurityAuthentication(request);
    request.setSignal(AbortSignal.any([signal, this.#closing.signal]));
    return await new IsomorphicFetchHttpLibrary().send(request).toPromise();
  }

  /** What the server answers and is no answer to us. */
  #refused(verb: Verb, status: number, text: string): IssuerError {
    const said = statusMessage(text);
    const at = `Secret ${this.#secret.namespace}/${this.#secret.name}`;
    if (status === 403) {
      const named = verb === 'create' ? '' : ` with the resourceNames ["${this.#secret.name}"]`;
      const missing =
        verb === 'create'
          ? `the ${at} is not there; put it back, from a backup or, where all keys may be new, empty (helm upgrade makes it), since the chart gives no right to make one. `
          : '';
      return unavailable(
        `${missing}RBAC: our service account may not ${verb} the ${at}: its Role in the namespace ${this.#secret.namespace} needs the verb "${verb}" on "secrets"${named} (the API server says: ${said}; one that is just starting may say so of rights that are there)`,
      );
    }
    const detail = `the Kubernetes API failed to ${verb} the ${at}: ${status} ${said}`;
    const isLasting = status >= 400 && status < 500 && ![401, 408, 409, 410, 429].includes(status);
    return isLasting ? new IssuerError('server_error', detail) : unavailable(detail);
  }

  #unreached(verb: Verb, error: unknown): IssuerError {
    const { namespace, name } = this.#secret;
    const detail = `the Kubernetes API did not answer to ${verb} the Secret ${namespace}/${name}: ${reasonOf(error)}`;
    return unavailable(detail, error);
  }

  /** The parser's own words may hold a piece of the text: they are not passed on. */
  #parse<T>(verb: Verb, parse: () => T): T {
    try {
      return parse();
    } catch {
      const { namespace, name } = this.#secret;
      throw unavailable(
        `the Kubernetes API answered with no Secret to ${verb} the Secret ${namespace}/${name}`,
      );
    }
  }
}

function unavailable(detail: string, cause?: unknown): IssuerError {
  return new IssuerError('temporarily_unavailable', detail, { cause, retryAfterSeconds: RETRY_SECONDS });
}

/** The innermost cause says most: fetch wraps it. */
function reasonOf(error: unknown): string {
  const { cause, code, message } = error as NodeJS.ErrnoException & { readonly cause?: unknown };
  return cause instanceof Error ? reasonOf(cause) : `${typeof code === 'string' ? `${code} ` : ''}${message}`;
}

/** The `message` of a Status (meta/v1). */
function statusMessage(text: string): string {
  try {
    const { message } = JSON.parse(text);
    if (typeof message === 'string') return message.slice(0, 500);
  } catch {
    // A proxy's own page, perhaps.
  }
  return 'without a reason';
}

/** A merge patch removes what is null (RFC 7396). */
function encode(data: SecretChange): Readonly<Record<string, string | null>> {
  return Object.fromEntries(
    Object.entries(data).map(([key, bytes]) => [key, bytes?.toString('base64') ?? null]),
  );
}

/** Throws unless it is a Secret. */
function parseSecret(value: unknown): Secret {
  const { kind, metadata, data } = value as {
    readonly kind?: unknown;
    readonly metadata: { readonly resourceVersion?: unknown };
    readonly data?: Readonly<Record<string, string>> | null;
  };
  const { resourceVersion } = metadata;
  if (kind !== 'Secret' || typeof resourceVersion !== 'string' || resourceVersion === '')
    throw new TypeError('not a Secret');
  const entries = Object.entries(data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64')]);
  return { resourceVersion, data: Object.fromEntries(entries) };
}

/** A Secret and its managed fields are far smaller than this. */
const MAX_LINE_CHARACTERS = 8 * 1024 * 1024;

async function* linesOf(response: ResponseContext, onBytes: () => void): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of response.body.stream() ?? []) {
    onBytes();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_CHARACTERS) throw new Error('an event has no end');
    yield* lines.filter((line) => line !== '');
  }
}
