/**
 * The API server calls the webhook over TLS and trusts what `caBundle` of the MutatingWebhookConfiguration
 * says. Mintmark writes its CA there, at the start and whenever it is not there any more (an upgrade or a
 * person wrote the object anew, or the CA's file has another one). Every replica does: they have the same CA.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { IssuerError } from '../core/errors.ts';

export type CaBundle = {
  /** The name of the MutatingWebhookConfiguration. */
  readonly configuration: string;
  /** PEM; undefined as long as there is none. Throws IssuerError where it cannot be read. */
  readonly caCertificate: () => Promise<string | undefined> | string | undefined;
  readonly kubernetes: () => Promise<KubeConfig>;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** 0 to 1, so that replicas do not ask at the same moment. */
  readonly random: () => number;
  /** The time between two looks, and after the first failure; each further one doubles it. */
  readonly intervalMs?: number;
  readonly firstRetryMs?: number;
};

const INTERVAL_MS = 60_000;
const FIRST_RETRY_MS = 1_000;
const TIMEOUT_MS = 10_000;

/** Until it is closed; throws nothing. */
export function keepCaBundle(parts: CaBundle): { close(): Promise<void> } {
  const stop = new AbortController();
  const ended = keep(parts, stop.signal);
  return {
    async close() {
      stop.abort();
      await ended;
    },
  };
}

/** There is no CA yet: the listener opens after the doors. No pod is to be refused for long after that. */
const WAITING = 'waiting';
const FIRST_WAIT_MS = 25;

async function keep(parts: CaBundle, signal: AbortSignal): Promise<void> {
  const { log, random, intervalMs = INTERVAL_MS, firstRetryMs = FIRST_RETRY_MS } = parts;
  let failures = 0;
  let wasWaiting = false;
  let told: string | undefined;
  while (!signal.aborted) {
    const problem = await look(parts, signal);
    if (signal.aborted) return;
    // A problem that lasts is told once.
    if (problem !== undefined && problem !== WAITING && problem !== told) log.warn(problem);
    told = problem;
    failures = problem === undefined ? 0 : wasWaiting && problem !== WAITING ? 1 : failures + 1;
    wasWaiting = problem === WAITING;
    const first = problem === WAITING ? FIRST_WAIT_MS : firstRetryMs;
    const delay = failures === 0 ? intervalMs : Math.min(first * 2 ** (failures - 1), intervalMs);
    await sleep(delay * (0.5 + random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** What keeps the caBundle from being right, in words for the log; undefined where it is. */
async function look(parts: CaBundle, signal: AbortSignal): Promise<string | undefined> {
  const { configuration, caCertificate, kubernetes, log } = parts;
  let verb = 'get';
  try {
    const pem = await caCertificate();
    if (pem === undefined) return WAITING;
    const caBundle = Buffer.from(pem).toString('base64');
    const api = await connect(kubernetes, signal);
    const operations = operationsFor(await api.read(configuration), caBundle);
    if (operations.length === 0) return undefined;
    verb = 'patch';
    await api.patch(configuration, operations);
    log.info(`the caBundle of MutatingWebhookConfiguration ${configuration} is now our CA`);
    return undefined;
  } catch (error) {
    return problemOf(error, verb, configuration);
  }
}

type Webhook = { readonly name: string; readonly clientConfig: { readonly caBundle?: string } };
type Api = {
  read(name: string): Promise<readonly Webhook[]>;
  patch(name: string, operations: readonly object[]): Promise<void>;
};

/** The client is loaded here and not before: it is large. A call ends with its time and with the signal. */
async function connect(kubernetes: CaBundle['kubernetes'], signal: AbortSignal): Promise<Api> {
  const { AdmissionregistrationV1Api, PatchStrategy, setHeaderOptions } = await import(
    '@kubernetes/client-node'
  );
  const api = (await kubernetes()).makeApiClient(AdmissionregistrationV1Api);
  const optionsOf = (header: string, value: string) => {
    const { middleware = [], ...options } = setHeaderOptions(header, value);
    const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const limited = middleware.map((each): typeof each => ({
      post: (response) => each.post(response),
      pre(request) {
        request.setSignal(limit);
        return each.pre(request);
      },
    }));
    return { ...options, middleware: limited };
  };
  return {
    async read(name) {
      const options = optionsOf('Accept', 'application/json');
      return (await api.readMutatingWebhookConfiguration({ name }, options)).webhooks ?? [];
    },
    async patch(name, body) {
      const options = optionsOf('Content-Type', PatchStrategy.JsonPatch);
      await api.patchMutatingWebhookConfiguration({ name, body }, options);
    },
  };
}

/** `test` first: between the look and the change somebody may have put another webhook in that place. */
function operationsFor(webhooks: readonly Webhook[], caBundle: string): readonly object[] {
  return webhooks.flatMap(({ name, clientConfig }, index) =>
    clientConfig.caBundle === caBundle
      ? []
      : [
          { op: 'test', path: `/webhooks/${index}/name`, value: name },
          { op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle },
        ],
  );
}

function problemOf(error: unknown, verb: string, name: string): string {
  if (error instanceof IssuerError) return error.detail;
  const { code, message, cause } = error as Error & { readonly code?: number | string };
  if (code === 403)
    return (
      `RBAC: the authority's service account may not ${verb} MutatingWebhookConfiguration ${name}: its ClusterRole ` +
      `needs get and patch of mutatingwebhookconfigurations in admissionregistration.k8s.io (resourceNames: [${name}])`
    );
  if (code === 404)
    return `there is no MutatingWebhookConfiguration ${name}: doors.webhook.configuration names it`;
  const why =
    typeof code === 'number' && code >= 100
      ? `HTTP ${code}`
      : ((cause as Error | undefined)?.message ?? message);
  return `the caBundle of MutatingWebhookConfiguration ${name} could not be kept: ${why}`;
}
