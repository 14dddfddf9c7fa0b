/**
 * What Docker says of containers and images, asked over its socket. Two requests
 * are all that is needed, so it is plain HTTP: a client library would bring SSH,
 * TLS and build contexts with it. Podman's socket answers the same.
 */
import { Agent, request } from 'node:http';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';

export type Container = {
  readonly id: string;
  readonly name: string;
  readonly imageId: string;
  /** What it was started by: a name with a tag or a digest, or an id. */
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly isRunning: boolean;
  /** Its first process; 0 where it has none. */
  readonly pid: number;
};

export type Image = {
  /** `name@sha256:…` for each registry that it was pulled from or pushed to. */
  readonly repoDigests: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
};

/** Both resolve to undefined where there is none, and throw `temporarily_unavailable` where Docker does not answer. */
export type DockerApi = {
  /** `fresh`: asked now, where else an answer of the last few seconds does. */
  container(id: string, fresh?: boolean): Promise<Container | undefined>;
  image(id: string): Promise<Image | undefined>;
  close(): void;
};

export type DockerApiOptions = {
  readonly socket: string;
  readonly timeoutSeconds: number;
  /** Seconds that went by since some fixed moment. */
  readonly elapsed: () => number;
};

const KEEP_SECONDS = 5;
const MAX_KEPT = 1000;
const MAX_CONNECTIONS = 8;
const MAX_BYTES = 4 * 1024 * 1024;

const labels = v.optional(v.nullable(v.record(v.string(), v.string()), {}), {});

const containerSchema = v.pipe(
  v.object({
    Id: v.string(),
    Name: v.string(),
    Image: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
    State: v.object({
      Running: v.boolean(),
      Restarting: v.optional(v.boolean(), false),
      Pid: v.pipe(v.number(), v.integer(), v.minValue(0)),
    }),
    Config: v.object({ Image: v.optional(v.string(), ''), Labels: labels }),
  }),
  v.transform(
    ({ Id, Name, Image, State, Config }): Container => ({
      id: Id,
      name: Name.replace(/^\//, ''),
      imageId: Image,
      image: Config.Image,
      labels: Config.Labels,
      isRunning: State.Running && !State.Restarting && State.Pid > 0,
      pid: State.Pid,
    }),
  ),
);

const imageSchema = v.pipe(
  v.object({
    RepoDigests: v.optional(v.nullable(v.array(v.string()), []), []),
    Config: v.optional(v.nullable(v.object({ Labels: labels }))),
  }),
  v.transform(
    ({ RepoDigests, Config }): Image => ({ repoDigests: RepoDigests, labels: Config?.Labels ?? {} }),
  ),
);

export function openDockerApi(options: DockerApiOptions): DockerApi {
  const agent = new Agent({ maxSockets: MAX_CONNECTIONS });
  const { elapsed } = options;
  const containers = createAnswers<Container>(elapsed, (id) =>
    get(options, agent, `/containers/${id}/json`, containerSchema),
  );
  const images = createAnswers<Image>(elapsed, (id) =>
    get(options, agent, `/images/${id}/json`, imageSchema),
  );
  return {
    async container(id, fresh = false) {
      const found = await containers(id, fresh);
      // An id that Docker does not know could still be the name that somebody gave another container.
      return found?.id === id ? found : undefined;
    },
    image: (id) => images(id, false),
    close: () => agent.destroy(),
  };
}

type Answer<T> = {
  readonly at: number;
  readonly isThere: () => boolean;
  readonly value: Promise<T | undefined>;
};

/** One question at a time about each thing, and its answer kept for some seconds; that there is none is not kept. */
function createAnswers<T>(elapsed: () => number, ask: (id: string) => Promise<T | undefined>) {
  const kept = new Map<string, Answer<T>>();
  return (id: string, fresh: boolean): Promise<T | undefined> => {
    const known = kept.get(id);
    const isUsable = known !== undefined && elapsed() - known.at < KEEP_SECONDS;
    if (isUsable && !(fresh && known.isThere())) return known.value;
    let isThere = false;
    const value = ask(id);
    const answer = { at: elapsed(), isThere: () => isThere, value };
    const forget = () => {
      if (kept.get(id) === answer) kept.delete(id);
    };
    value.then((found) => {
      isThere = true;
      if (found === undefined) forget();
    }, forget);
    kept.delete(id);
    kept.set(id, answer);
    const [oldest] = kept.keys();
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
    return value;
  };
}

async function get<T>(
  { socket, timeoutSeconds }: DockerApiOptions,
  agent: Agent,
  path: string,
  schema: v.GenericSchema<unknown, T>,
): Promise<T | undefined> {
  const signal = AbortSignal.timeout(timeoutSeconds * 1000);
  const { status, body } = await fetchBody(socket, path, agent, signal).catch((error: unknown) => {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    const why = signal.aborted ? `takes more than ${timeoutSeconds} s` : `does not answer: ${code}`;
    throw unavailable(`Docker (${socket}) ${why}`, error);
  });
  if (status === 404) return undefined;
  if (status !== 200) throw unavailable(`Docker (${socket}) answered ${status}`);
  const result = v.safeParse(schema, parseJson(body));
  if (result.success) return result.output;
  // Only where it is wrong: the answer has the container's environment in it.
  const place = v.getDotPath(result.issues[0]) ?? 'the whole of it';
  throw unavailable(`Docker (${socket}) answered what we cannot read: ${place}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fetchBody(
  socketPath: string,
  path: string,
  agent: Agent,
  signal: AbortSignal,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, agent, signal, headers: { Host: 'docker' } }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        if (body.length > MAX_BYTES) call.destroy(new Error(`more than ${MAX_BYTES} bytes`));
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    call.on('error', reject).end();
  });
}

const unavailable = (detail: string, cause?: unknown): IssuerError =>
  new IssuerError('temporarily_unavailable', detail, { cause, retryAfterSeconds: 1 });
