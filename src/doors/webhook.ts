/**
 * Kubernetes' mutating admission webhook (admission.k8s.io/v1) for pods that are created: adds the sidecar.
 * A pod that cannot be injected is refused with the reason; it must not start without its identity.
 */
import { readFile } from 'node:fs/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Context } from 'koa';
import { IssuerError } from '../core/errors.ts';
import { isMap } from '../core/json.ts';
import { decodeText } from './body.ts';
import { type CaBundle, keepCaBundle } from './ca-bundle.ts';
import { answerJson, type Door } from './door.ts';
import { errorAnswer, jsonAnswer } from './openapi.ts';
import { createReading } from './reading.ts';
import type { WebhookConfig } from './webhook-settings.ts';

export { config, type WebhookConfig } from './webhook-settings.ts';

export type WebhookContext = {
  /** The operations that lead to the injected pod, none where it is injected already. Throws `invalid_request`. */
  readonly inject: (pod: unknown, ca: string | undefined) => readonly unknown[];
  /** PEM of the CA that Mintmark made for `private`; undefined where the certificate is from elsewhere. */
  readonly caCertificate: () => string | undefined;
  readonly kubernetes: () => Promise<KubeConfig>;
  readonly log: Pick<CaBundle['log'], 'info' | 'warn'>;
};

/** `close` ends what keeps the caBundle. */
export type WebhookDoor = Door & { close(): Promise<void> };

/** etcd takes no object of more than 1.5 MiB by default and the API server no request of more than 3 MiB. */
const BODY_MAX_BYTES = 4 * 1024 * 1024;
/** The pod has to fit into the API server's own bounds with it. */
const PATCH_MAX_BYTES = 1024 * 1024;
/** Of a refusal, which has texts of the pod in it. */
const MESSAGE_MAX_LENGTH = 2048;
const UID_MAX_LENGTH = 128;
/** The API server sends what it has in memory. */
const BODY_DEADLINE_MS = 2_000;
const VERSION = 'admission.k8s.io/v1';
/** As in injection/names.ts, a room that doors do not look into. */
const INJECT_LABEL = 'mintmark.io/inject';

export function open(block: WebhookConfig, context: WebhookContext): WebhookDoor {
  const bundle = startBundle(block, context);
  const { maxInFlight } = block;
  const readReview = createReading({
    most: maxInFlight,
    mostPerAddress: Math.ceil(maxInFlight / 4),
    deadlineMs: BODY_DEADLINE_MS,
    maxBytes: BODY_MAX_BYTES,
  });
  let inFlight = 0;
  async function handle(http: Context): Promise<void> {
    // Whoever reaches the listener may begin a body: only what is there takes a place.
    const bytes = await readReview(http.req);
    // The API server asks again by itself (Retry-After), within the webhook's timeoutSeconds.
    if (inFlight >= maxInFlight)
      throw new IssuerError('temporarily_unavailable', `${inFlight} pods are being injected already`, {
        retryAfterSeconds: 1,
      });
    inFlight++;
    try {
      // Before it is parsed: what a review becomes in memory is many times its bytes, and is gone with this turn.
      const ca = await readCa(block, context).catch((error: Error) => error);
      const response = answer(parseReview(bytes), ca, context);
      answerJson(http, { apiVersion: VERSION, kind: 'AdmissionReview', response });
    } finally {
      inFlight--;
    }
  }
  return {
    name: 'webhook',
    surface: 'private',
    routes: [{ method: 'POST', path: '/v1/inject', operation: OPERATION, handle }],
    close: async () => bundle?.close(),
  };
}

function startBundle(
  block: WebhookConfig,
  context: WebhookContext,
): ReturnType<typeof keepCaBundle> | undefined {
  const { configuration } = block;
  if (configuration === undefined) return undefined;
  const { kubernetes, log } = context;
  const caCertificate = () => readCa(block, context);
  return keepCaBundle({ configuration, caCertificate, kubernetes, log, random: Math.random });
}

type Review = {
  readonly uid: string;
  readonly operation: unknown;
  readonly isPod: boolean;
  readonly namespace: unknown;
  readonly object: unknown;
};

type Fields = Readonly<Record<string, unknown>>;

/** Throws `invalid_request` where it is no AdmissionReview: there is no uid then to answer to. */
function parseReview(bytes: Buffer): Review {
  const review = parseJson(bytes);
  const request = isMap(review) ? review.request : undefined;
  if (!isMap(review) || review.kind !== 'AdmissionReview' || !isMap(request))
    throw malformed('the body is no AdmissionReview');
  if (review.apiVersion !== VERSION) throw malformed(`the apiVersion of the review is not ${VERSION}`);
  if (typeof request.uid !== 'string' || request.uid === '') throw malformed('the request has no uid');
  if (request.uid.length > UID_MAX_LENGTH) throw malformed('the uid of the request is too long');
  const { uid, operation, namespace, object } = request;
  return { uid, operation, namespace, object, isPod: isPodRequest(request) };
}

function isPodRequest({ kind, subResource }: Fields): boolean {
  const isWhole = subResource === undefined || subResource === '';
  return isWhole && isMap(kind) && kind.group === '' && kind.version === 'v1' && kind.kind === 'Pod';
}

function parseJson(bytes: Buffer): unknown {
  const text = decodeText(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new IssuerError('invalid_request', 'the body is no valid JSON', {
      cause: (cause as Error).name,
      shown: { reason: 'the body is no valid JSON' },
    });
  }
}

function malformed(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

/** The `response`: always an answer to this very request, whatever happens. */
function answer(review: Review, ca: string | undefined | Error, context: WebhookContext): Fields {
  const { uid, isPod, operation, object } = review;
  if (!isPod || operation !== 'CREATE') {
    const warnings = [
      'mintmark injects pods when they are created; the webhook need not be asked for others',
    ];
    return { uid, allowed: true, warnings };
  }
  const label = labelOf(object);
  if (label === 'false') return { uid, allowed: true };
  try {
    // A slip such as "True" would start a pod without its identity, and without a word.
    if (label !== undefined && label !== 'true')
      throw malformed(`label ${INJECT_LABEL} must be "true" or "false", not ${JSON.stringify(label)}`);
    if (ca instanceof Error) throw ca;
    const operations = context.inject(object, ca);
    if (operations.length === 0) return { uid, allowed: true };
    const patch = encodePatch(operations);
    return { uid, allowed: true, patchType: 'JSONPatch', patch };
  } catch (error) {
    return { uid, allowed: false, status: statusOf(error, nameOf(review), context) };
  }
}

/** Throws `invalid_request` where it is too large. */
function encodePatch(operations: readonly unknown[]): string {
  const bytes = Buffer.from(JSON.stringify(operations));
  if (bytes.length <= PATCH_MAX_BYTES) return bytes.toString('base64');
  const reason = `what its annotations ask for makes ${bytes.length} bytes: ${PATCH_MAX_BYTES} are the most`;
  throw malformed(reason);
}

/** What the pod says of its injection: `"false"` declines, where the webhook is asked for every pod. */
function labelOf(pod: unknown): unknown {
  const metadata = isMap(pod) ? pod.metadata : undefined;
  const labels = isMap(metadata) ? metadata.labels : undefined;
  return isMap(labels) ? labels[INJECT_LABEL] : undefined;
}

/** `prod/web-7d4b9*` where the rest of the name is still to be made up. */
function nameOf({ namespace, object }: Review): string {
  const metadata = isMap(object) && isMap(object.metadata) ? object.metadata : {};
  const { name, generateName } = metadata;
  return `${namespace}/${name ? name : `${generateName ?? ''}*`}`;
}

/** Read again for each pod: cert-manager renews it. */
async function readCa(
  { caFile }: WebhookConfig,
  { caCertificate }: WebhookContext,
): Promise<string | undefined> {
  if (caFile === undefined) return caCertificate();
  try {
    return await readFile(caFile, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new IssuerError('temporarily_unavailable', `doors.webhook.caFile ${caFile}: ${code}`, { cause });
  }
}

/** meta/v1 Status, as kubectl and the events of a ReplicaSet show it. What is not the pod's fault is logged too. */
function statusOf(error: unknown, pod: string, { log }: WebhookContext): Fields {
  const known = error instanceof IssuerError ? error : undefined;
  const reason = known?.detail ?? `a fault in mintmark: ${(error as Error).message}`;
  const message = `mintmark cannot inject pod ${pod}: ${reason}`.slice(0, MESSAGE_MAX_LENGTH);
  if (known?.code === 'invalid_request') return { code: 400, reason: 'BadRequest', message };
  log.warn(message);
  if (known !== undefined) return { code: 503, reason: 'ServiceUnavailable', message };
  return { code: 500, reason: 'InternalError', message };
}

const OPERATION = {
  summary: 'Adds the sidecar to a pod that is being created (AdmissionReview of admission.k8s.io/v1)',
  requestBody: { required: true, content: { 'application/json': { schema: { type: 'object' } } } },
  responses: {
    200: jsonAnswer('AdmissionReview with the response: a JSON Patch, or the reason for the refusal'),
    400: errorAnswer('The body is no AdmissionReview'),
    408: errorAnswer('The body was not there in two seconds'),
    413: errorAnswer('The body is over 4 MiB'),
    503: errorAnswer('Too many pods are being injected at once: ask again after Retry-After'),
  },
};
