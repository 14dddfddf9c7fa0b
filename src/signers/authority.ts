/**
 * A sidecar's way to its authority: POST over TLS with the pod's projected service
 * account token, which is read anew for each call since the kubelet rotates it. What
 * does not answer is tried again, at another replica where there is one.
 */
import { readFile } from 'node:fs/promises';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { ERROR_SENTENCES, type ErrorCode, IssuerError } from '../core/errors.ts';
import { ALGORITHMS, type Authority, type Claims, type Selector, type TokenRequest } from '../core/ports.ts';

export type AuthorityParts = {
  readonly url: string;
  /** PEM; without it and `caFile` the system's own CAs count. */
  readonly ca: string | undefined;
  /** PEM, read for each new connection. */
  readonly caFile: string | undefined;
  /** Holds the pod-bound token. */
  readonly tokenFile: string;
  /** A number in [0, 1). */
  readonly random: () => number;
};

const TOKENS = '/v1/sidecar/tokens';
const EXPLAIN = '/v1/sidecar/explain';
const ATTEMPTS = 4;
const ATTEMPT_MS = 2_000;
const WAIT_MS = 400;
const ANSWER_MAX_BYTES = 256 * 1024;
const TOKEN_MAX_BYTES = 16 * 1024;
/** Shorter than the 30 s that the authority keeps an idle connection, so that none is used as it ends. */
const IDLE_MS = 10_000;

type Answer = { readonly status: number; readonly text: string; readonly retryAfter: string | undefined };

/** Shape: Authority of core/ports.ts. */
export function open(parts: AuthorityParts): Authority {
  // A session that is taken up again would skip the check of the certificate.
  const agent = new Agent({ keepAlive: true, timeout: IDLE_MS, maxSockets: 32, maxCachedSessions: 0 });
  const closing = new AbortController();

  async function post(path: string, fields: object): Promise<unknown> {
    const body = JSON.stringify(fields);
    const answer = await persist(
      async () => {
        const token = (await readFile(parts.tokenFile, 'latin1')).trim();
        if (token.length > TOKEN_MAX_BYTES || !/^[\w.-]+$/.test(token))
          throw new IssuerError('server_error', `${parts.tokenFile} holds no token`);
        const ca = parts.caFile === undefined ? parts.ca : await readFile(parts.caFile, 'latin1');
        return send(new URL(path, parts.url), { agent, ...(ca === undefined ? {} : { ca }) }, token, body);
      },
      parts.random,
      closing.signal,
    );
    return parseAnswer(answer);
  }

  return {
    async issueToken(claimed, request) {
      const { token, key_id, algorithm, rule, reusable } = read(
        TokenAnswer,
        await post(TOKENS, fieldsOf(claimed, request)),
      );
      return { token, keyId: key_id, algorithm, rule, isReusable: reusable, claims: claimsOf(token) };
    },
    async explain(claimed, request) {
      const { workload, decision } = read(ExplainAnswer, await post(EXPLAIN, fieldsOf(claimed, request)));
      return {
        workload: { ...workload, selectors: new Set(workload.selectors) },
        // It tells the rules that may be shown, and no others.
        decision: (decision.allowed ? decision : { ...decision, nearest: decision.shown }) as never,
      };
    },
    async close() {
      closing.abort();
      agent.destroy();
    },
  };
}

const TokenAnswer = v.object({
  token: v.pipe(v.string(), v.regex(/^[\w-]+\.[\w-]+\.[\w-]+$/)),
  key_id: v.string(),
  algorithm: v.picklist(ALGORITHMS),
  rule: v.string(),
  /** An authority of before says nothing. */
  reusable: v.optional(v.boolean(), true),
});

const ExplainAnswer = v.object({
  workload: v.object({
    selectors: v.array(v.string()),
    facts: v.record(v.string(), v.string()),
    unproven: v.record(v.string(), v.string()),
  }),
  decision: v.looseObject({ allowed: v.boolean() }),
});

function read<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  if (v.is(schema, value)) return value;
  throw unavailable('the authority answered in a form of its own');
}

/** The authority's word, over TLS: it is not verified again, only read. */
function claimsOf(token: string): Claims {
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
  } catch {
    throw unavailable('the authority answered with no token');
  }
  return read(TokenClaims, claims) as Claims;
}

const TokenClaims = v.looseObject({
  iss: v.string(),
  sub: v.string(),
  aud: v.union([v.string(), v.array(v.string())]),
  iat: v.number(),
  nbf: v.number(),
  exp: v.number(),
  jti: v.string(),
});

function fieldsOf(claimed: readonly Selector[], request: TokenRequest): object {
  const { audience, ttlSeconds, principalTags } = request;
  return { claimed, audience, ttl: ttlSeconds, aws_principal_tags: principalTags };
}

/** Faults of the way there are tried again with a wait that no two sidecars share. */
async function persist(
  attempt: () => Promise<Answer>,
  random: () => number,
  closing: AbortSignal,
): Promise<Answer> {
  for (let left = ATTEMPTS - 1; ; left--) {
    if (closing.aborted) throw unavailable('the sidecar is stopping');
    try {
      const answer = await attempt();
      if (left === 0 || answer.status < 500) return answer;
    } catch (error) {
      if (error instanceof IssuerError) throw error;
      if (left === 0) throw unavailable(`the authority does not answer: ${describe(error)}`, error);
    }
    await sleep(WAIT_MS * (0.5 + random()), undefined, { signal: closing }).catch(() => undefined);
  }
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

function send(url: URL, way: RequestOptions, token: string, body: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = {
      ...way,
      method: 'POST',
      minVersion: 'TLSv1.2',
      signal: AbortSignal.timeout(ATTEMPT_MS),
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
      },
    };
    const outgoing = httpsRequest(url, options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > ANSWER_MAX_BYTES) response.destroy(new Error('its answer is too large'));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      // One that cannot answer keeps no connection: the next attempt may reach another replica.
      const { socket } = response;
      if ((response.statusCode ?? 0) >= 500) response.on('end', () => socket.destroy());
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString('utf8'),
          retryAfter: response.headers['retry-after'],
        }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** The value of a 200; what it refuses with is passed on, code and shown facts alike. */
function parseAnswer({ status, text, retryAfter }: Answer): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unavailable(`the authority answered ${status} and no JSON`);
  }
  if (status === 200) return value;
  const { error, error_description: _, ...shown } = Object(value) as Record<string, unknown>;
  const retryAfterSeconds = Number(retryAfter) || undefined;
  if (status >= 500 || !isCode(error))
    throw unavailable(`the authority answered ${status} (${error})`, undefined, retryAfterSeconds ?? 1);
  throw new IssuerError(
    error,
    `the authority refuses it: ${[shown.reason ?? error, ...lacks(shown)].join('; ')}`,
    {
      shown,
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    },
  );
}

/** What kept the nearest rules from matching, as far as their owners show it: for the log. */
function lacks({ nearest }: Readonly<Record<string, unknown>>): readonly string[] {
  if (!v.is(Nearest, nearest)) return [];
  return nearest.map(({ rule, fails }) => {
    const missing = fails.map(({ selector, instead }) => `${selector} (${instead})`);
    return `"${rule}" lacks ${missing.join(', ') || 'the audience'}`;
  });
}

const Nearest = v.array(
  v.object({ rule: v.string(), fails: v.array(v.object({ selector: v.string(), instead: v.string() })) }),
);

function isCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_SENTENCES, value);
}

function unavailable(detail: string, cause?: unknown, retryAfterSeconds = 1): IssuerError {
  return new IssuerError('temporarily_unavailable', detail, { cause, retryAfterSeconds });
}
