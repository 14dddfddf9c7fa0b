/**
 * The schema of the chart's values. What becomes a setting of mintmark.yaml is taken from
 * the program: the rooms' own blocks where the rooms have them, so that a new setting of
 * the Kubernetes attestor or of the webhook is a value of the chart by itself.
 */
import * as v from 'valibot';
import { attestors } from '../src/attestors/index.ts';
import { loadEvery } from '../src/config/rooms.ts';
import { tokenFileSchema } from '../src/config/rules.ts';
import { audience } from '../src/config/scalars.ts';
import { configSchema } from '../src/config/schema.ts';
import { ISSUER_MAX_LENGTH } from '../src/config/units.ts';
import { doors } from '../src/doors/index.ts';
import { IMAGE } from '../src/doors/webhook-settings.ts';
import { stores } from '../src/stores/index.ts';
import { recordStores } from '../src/stores/records.ts';

/** Settings that the templates fill in by what else the chart knows. */
export const FILLED_IN = {
  attestor: ['audience'],
  sidecar: ['configuration', 'url', 'audience', 'image', 'ca', 'caFile', 'maxInFlight'],
};

type Entries = Readonly<Record<string, v.GenericSchema>>;

/** The entries of a plug-in's block but those named. */
function entriesOf(block: v.GenericSchema | undefined, without: readonly string[]): Entries {
  const { entries } = block as unknown as { readonly entries: Entries };
  return Object.fromEntries(Object.entries(entries).filter(([name]) => !without.includes(name)));
}

const text = v.string();
const flag = v.boolean();
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const count = (least: number, most: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
const orEmpty = (pattern: string) => v.pipe(text, v.regex(new RegExp(`^(?:|${pattern})$`)));
const name = orEmpty('[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?');
const label = orEmpty('[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?');
const prometheusDuration = orEmpty('[0-9]+(?:ms|s|m|h)');
const percentOrCount = v.union([count(1, 1000), v.pipe(text, v.regex(/^[0-9]{1,3}%$/))]);
const strings = v.record(text, text);
const object = v.looseObject({});
const objects = v.array(object);
const named = v.looseObject({ name: v.pipe(text, v.minLength(1)) });

/** As in every selector of Kubernetes; null takes a default away. */
const selector = v.strictObject({
  matchLabels: v.optional(v.nullable(v.record(text, v.nullable(text)))),
  matchExpressions: v.optional(objects),
});

const quantity = v.union([
  v.pipe(v.number(), v.minValue(0)),
  v.pipe(text, v.regex(/^[0-9.]+(?:[eE][0-9]+)?(?:m|[kMGTPE]i?|Ki)?$/)),
]);
const resources = v.strictObject({
  requests: v.optional(v.record(text, quantity)),
  limits: v.optional(v.record(text, quantity)),
  claims: v.optional(objects),
});

const image = v.strictObject({
  repository: v.pipe(text, v.regex(/^[a-z0-9](?:[A-Za-z0-9._/:-]*[A-Za-z0-9])?$/)),
  tag: orEmpty('[A-Za-z0-9_][A-Za-z0-9._-]{0,127}'),
  digest: orEmpty('sha256:[0-9a-f]{64}'),
  pullPolicy: v.picklist(['Always', 'IfNotPresent', 'Never']),
});

const certificate = {
  port,
  maxConnections: count(1, 65_536),
  maxConnectionsPerAddress: count(1, 65_536),
  tlsSecret: name,
  certManager: v.strictObject({ enabled: flag, issuerRef: v.union([v.strictObject({}), named]) }),
};

const ingress = v.strictObject({
  enabled: flag,
  className: text,
  annotations: strings,
  hosts: v.array(v.pipe(text, v.minLength(1))),
  tls: objects,
});

const gateway = v.strictObject({
  enabled: flag,
  parentRefs: v.array(named),
  hostnames: v.array(v.pipe(text, v.minLength(1))),
  annotations: strings,
});

const monitor = v.strictObject({ enabled: flag, labels: strings, interval: prometheusDuration });
const monitoring = v.strictObject({
  serviceMonitor: monitor,
  podMonitor: monitor,
  prometheusRule: v.strictObject({ enabled: flag, labels: strings }),
  dashboard: v.strictObject({ enabled: flag, labels: strings, annotations: strings }),
});

const networkPolicy = v.strictObject({
  enabled: flag,
  publicFrom: objects,
  statusFrom: objects,
  apiServerPorts: v.array(port),
  egress: objects,
});

/** As in every pod of Kubernetes. */
const scheduling = {
  podLabels: strings,
  podAnnotations: strings,
  nodeSelector: strings,
  tolerations: objects,
  affinity: object,
  topologySpreadConstraints: objects,
  priorityClassName: name,
};

function extra(settings: readonly string[]) {
  return v.strictObject({
    settings: v.strictObject(Object.fromEntries(settings.map((key) => [key, v.optional(v.unknown())]))),
    env: v.array(named),
    volumes: v.array(named),
    volumeMounts: v.array(named),
    objects,
  });
}

const rotation = v.pipe(text, v.regex(/^(0|[1-9][0-9]{0,8})[smhd]$/));
/** Its numbers are looked at by a template. */
const statusListen = v.optional(
  v.pipe(text, v.regex(/^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\]):[0-9]{4,5}$/)),
);

/** What the chart says of a setting is what the program takes. */
function settingsOf(program: ReturnType<typeof configSchema>['entries']) {
  const { rules, public: listener, log, stopWithin } = program;
  return {
    // Empty is what values.yaml has: a template says what to do.
    issuer: v.pipe(
      text,
      v.regex(/^(|https:\/\/[a-z0-9.:[\]-]+(\/[A-Za-z0-9._~-]+)*)$/),
      v.maxLength(ISSUER_MAX_LENGTH),
    ),
    rules,
    audience: audience('The audience of the tokens of sidecars.', 'mintmark'),
    keys: v.strictObject({
      rotateEvery: rotation,
      publishAtLeast: rotation,
      secretName: name,
      keepOnUninstall: flag,
    }),
    public: v.strictObject({
      cacheFor: listener.wrapped.entries.cacheFor.wrapped,
      tlsSecret: name,
      service: v.strictObject({
        type: v.picklist(['ClusterIP', 'NodePort', 'LoadBalancer']),
        port,
        annotations: strings,
      }),
    }),
    log,
    stopWithin: stopWithin.wrapped,
  };
}

export async function chartValues() {
  const rooms = await loadEvery({ attestors, doors, stores, records: recordStores });
  const program = configSchema(rooms).entries;
  const attestor = entriesOf(rooms.attestors.kubernetes, FILLED_IN.attestor);
  const sidecar = entriesOf(rooms.doors.webhook, FILLED_IN.sidecar);
  return v.strictObject({
    // Helm adds it where the chart is part of another.
    global: v.optional(object),
    mode: v.picklist(['authority', 'standalone']),
    ...settingsOf(program),
    replicas: count(1, 100),
    image,
    imagePullSecrets: v.array(named),
    nameOverride: label,
    fullnameOverride: label,
    existingKek: v.strictObject({ name, key: v.pipe(text, v.regex(/^[A-Za-z0-9._-]+$/)) }),
    attestor: v.strictObject(attestor),
    sidecar: v.strictObject({ image: orEmpty(IMAGE.source.slice(1, -1)), ...sidecar, statusListen }),
    webhook: v.strictObject({
      enabled: flag,
      namespaceSelector: selector,
      objectSelector: selector,
      timeoutSeconds: count(1, 30),
      maxInFlight: count(1, 4096),
    }),
    private: v.strictObject(certificate),
    listenAddress: v.picklist(['0.0.0.0', '[::]']),
    ingress,
    gateway,
    monitoring,
    networkPolicy,
    podDisruptionBudget: v.strictObject({ enabled: flag, maxUnavailable: percentOrCount }),
    serviceAccount: v.strictObject({ name, annotations: strings }),
    resources,
    drainSeconds: count(0, 600),
    terminationGracePeriodSeconds: count(1, 3600),
    ...scheduling,
    standalone: v.strictObject({
      containers: v.array(named),
      volumes: v.array(named),
      existingClaim: name,
      tokens: v.array(
        v.strictObject({ ...tokenFileSchema.entries, owner: v.optional(tokenFileSchema.entries.owner) }),
      ),
      resources,
    }),
    tests: v.strictObject({ enabled: flag }),
    extra: extra(Object.keys(program)),
  });
}
